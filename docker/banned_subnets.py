"""Print `USER_ADDITIONAL_BANNED_SUBNETS` for a Label Studio that may call into one network only.

    python docker/banned_subnets.py 172.30.77.0/24

Label Studio refuses to call reserved addresses, and its list can only be switched off as a whole
(`USE_DEFAULT_BANNED_SUBNETS=false`) and written anew. This writes it anew, without the given network. The
network's first address stays banned: it is the gateway, that is, the machine that Docker runs on.
"""

import ipaddress
import sys

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# https://github.com/HumanSignal/label-studio/blob/1.23.2/label_studio/core/utils/io.py, `validate_ip`
LABEL_STUDIO_BANS = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 233.252.0.0/24
    240.0.0.0/4 255.255.255.255/32
    ::/128 ::1/128 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/32 2001:20::/28
    2001:db8::/32 2002::/16 fc00::/7 fe80::/10 ff00::/8
"""


def banned_subnets(allowed: ipaddress.IPv4Network) -> list[str]:
    """Label Studio's own bans minus `allowed`, plus its gateway, in CIDR notation, IPv4 before IPv6.

    Raises ValueError when `allowed` lies in none of the bans: then there is nothing to allow.
    """
    gateway = ipaddress.ip_network(allowed.network_address + 1)
    bans: list[Network] = [gateway]
    found = False
    for text in LABEL_STUDIO_BANS.split():
        ban = ipaddress.ip_network(text)
        if isinstance(ban, ipaddress.IPv4Network) and allowed.subnet_of(ban):
            found = True
            bans.extend(ban.address_exclude(allowed))
        else:
            bans.append(ban)
    if not found:
        raise ValueError(f"Label Studio does not ban {allowed}: leave its list as it is")
    bans.sort(key=lambda ban: (ban.version, int(ban.network_address), ban.prefixlen))
    return [str(ban) for ban in bans]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: banned_subnets.py NETWORK, e.g. 172.30.77.0/24")
    # Label Studio splits at "," and strips nothing: a space or a last comma would make every call fail.
    sys.stdout.write(",".join(banned_subnets(ipaddress.IPv4Network(sys.argv[1]))) + "\n")
