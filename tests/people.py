"""More people in a real Label Studio: who signs up gets a client of their own."""

from dataclasses import dataclass

import httpx

from service.demo.label_studio import PASSWORD, LabelStudioProcess


@dataclass(frozen=True)
class Colleague:
    """Another user: `token` is their legacy token, `session` what their browser's cookie holds."""

    id: int
    email: str
    token: str
    session: str

    def api(self, studio: LabelStudioProcess) -> httpx.Client:
        """Label Studio's API as they call it."""
        return httpx.Client(base_url=studio.url, headers={"Authorization": f"Token {self.token}"}, timeout=60)


def sign_up(studio: LabelStudioProcess, email: str) -> Colleague:
    """A new user of the same organization."""
    with httpx.Client(base_url=studio.url, timeout=60) as browser:
        browser.get("/user/signup/").raise_for_status()
        form = {
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
            "email": email,
            "password": PASSWORD,
            "allow_newsletters": "false",
        }
        browser.post("/user/signup/", data=form)
        who = browser.get("/api/current-user/whoami").raise_for_status().json()
        token = browser.get("/api/current-user/token").raise_for_status().json()["token"]
        return Colleague(int(who["id"]), str(who["email"]), str(token), browser.cookies["sessionid"])
