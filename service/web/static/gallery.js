// The gallery by click, key and touch. The page works without it, by checkboxes and buttons: this makes it quick.
const CHUNK = 20; // tasks a request: some two seconds
const LONG_PRESS = 500; // milliseconds
const NEXT_AFTER = 450; // milliseconds: so that one sees what was written
const FOCUS = "negatives-focus-first"; // what the page before tells this one

const form = document.getElementById("wall");
document.documentElement.classList.add("scripted");
document.getElementById("filters")?.addEventListener("change", (event) => event.currentTarget.requestSubmit());
if (form) start();
else sessionStorage.removeItem(FOCUS);

function start() {
  const isImages = form.dataset.mode === "images";
  const reasons = JSON.parse(form.dataset.reasons); // and the key for each
  const signs = JSON.parse(form.dataset.signs); // by state
  const tiles = [...document.querySelectorAll(".tile")];
  const progress = document.getElementById("progress");
  const confirmButton = document.getElementById("confirm");
  const large = document.getElementById("large");
  const keys = document.getElementById("keys");
  let current = tiles[0];
  let isSending = false;
  let isLeaving = false;

  // ------------------------------------------------------------ what is marked

  const box = (tile) => tile.querySelector("input");
  const picture = (tile) => tile.querySelector("img");
  const taskOf = (tile) => tile.dataset.name.split(":")[0];
  const marked = () => tiles.filter((tile) => tile.dataset.mark);

  function mark(tile, verdict, reason = "") {
    if (isSending) return restore(tile);
    tile.classList.remove("done");
    if (verdict) {
      tile.dataset.mark = verdict;
      tile.dataset.why = reason;
      const words = { rejected: `✕ ${reason || "bad"}`, unsure: "? unsure", accepted: "✓ good", empty: "✓ nothing in it" };
      tile.querySelector(".said").dataset.words = words[verdict];
      tile.dataset.words = words[verdict];
    } else {
      for (const name of ["mark", "why", "words"]) delete tile.dataset[name];
      tell(tile, "");
    }
    restore(tile);
    describe(tile);
    count();
  }

  function restore(tile) {
    box(tile).checked = Boolean(tile.dataset.mark);
  }

  function describe(tile) {
    const said = tile.dataset.words ? `Marked ${tile.dataset.words.slice(2)}. ` : "";
    box(tile).setAttribute("aria-label", said + tile.dataset.title);
  }

  // A click says the opposite of what holds, and takes it back.
  function cycle(tile) {
    const steps = isImages
      ? ["empty", ""]
      : { accepted: ["rejected", ""], rejected: ["accepted", ""], pending: ["rejected", ""] }[tile.dataset.state] ?? ["rejected", "accepted", ""];
    mark(tile, steps[steps.indexOf(tile.dataset.mark ?? "") + 1] ?? steps[0]);
  }

  function say(tile, verdict, reason = "") {
    const isSame = tile.dataset.mark === verdict && (tile.dataset.why ?? "") === reason;
    mark(tile, isSame ? "" : verdict, reason);
  }

  function isNews(tile, verdict, reason) {
    return tile.dataset.mine !== verdict || tile.dataset.reason !== reason;
  }

  // ------------------------------------------------------------ what would be written

  // Nobody accepts what they can't have seen.
  const missing = new Set();
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (entry.responseStatus >= 400) missing.add(entry.name);
  }).observe({ type: "resource", buffered: true });
  const isShown = (tile) => picture(tile).complete && picture(tile).naturalWidth > 0 && !missing.has(picture(tile).currentSrc);

  function toConfirm() {
    const said = marked()
      .map((tile) => ({ tile, verdict: tile.dataset.mark, reason: tile.dataset.why ?? "" }))
      .filter(({ tile, verdict, reason }) => isImages || isNews(tile, verdict, reason));
    const open = isImages ? [] : tiles.filter((tile) => !tile.dataset.mark && tile.dataset.state === "pending" && !tile.dataset.mine);
    const good = open.filter(isShown).map((tile) => ({ tile, verdict: "accepted", reason: "" }));
    return { said, good, unseen: open.length - good.length };
  }

  function count() {
    if (isImages) {
      confirmButton.firstChild.textContent = `Nothing in the ${marked().length || ""} marked `.replace("  ", " ");
      return;
    }
    const counts = {};
    for (const tile of tiles) if (tile.dataset.mark) counts[tile.dataset.mark] = (counts[tile.dataset.mark] ?? 0) + 1;
    const open = tiles.filter((tile) => !tile.dataset.mark && tile.dataset.state === "pending" && !tile.dataset.mine).length;
    if (open) counts.accepted = (counts.accepted ?? 0) + open;
    const words = ["rejected", "unsure", "accepted"].filter((verdict) => counts[verdict]).map((verdict) => `${counts[verdict]} ${verdict}`);
    confirmButton.firstChild.textContent = words.length ? `Confirm: ${words.join(", ")} ` : "Nothing to confirm ";
  }

  // ------------------------------------------------------------ writing

  // `isPage`: these are all that the page has, so that another one may come.
  async function write(items, { isPage = false, unseen = 0 } = {}) {
    if (isSending) return;
    if (!items.length) {
      if (unseen) announce(`${unseen} pictures aren't here yet: scroll down to see them, then press C again.`, true);
      else if (!isImages && form.dataset.after && !marked().length) go(form.dataset.after);
      else announce(isImages ? "Nothing is marked: click the images with nothing in them." : "There is nothing to write.");
      return;
    }
    isSending = true;
    form.setAttribute("aria-busy", "true");
    const groups = byTask(items);
    let written = 0;
    let failed = 0;
    let trouble = "";
    for (let at = 0; at < groups.length && !trouble; at += CHUNK) {
      const chunk = groups.slice(at, at + CHUNK).flat();
      announce(`${written} of ${items.length} written …`);
      for (const { tile } of chunk) tile.classList.add("sending");
      try {
        const answer = await post(chunk);
        const why = new Map(answer.failures.map((failure) => [String(failure.task), failure.text]));
        for (const item of chunk) {
          const text = why.get(taskOf(item.tile));
          if (text === undefined) {
            settle(item, answer.tiles[item.tile.dataset.name]);
            written += 1;
          } else {
            keep(item, text);
            failed += 1;
          }
        }
      } catch (error) {
        trouble = error.message;
        for (const item of chunk) keep(item, trouble);
        failed += chunk.length;
      }
      for (const { tile } of chunk) tile.classList.remove("sending");
    }
    isSending = false;
    form.removeAttribute("aria-busy");
    count();
    if (trouble || failed) {
      announce(`${written} of ${items.length} written. ${trouble || `${failed} failed: the tiles say why.`} Press C to try again.`, true);
      return;
    }
    const rest = unseen ? ` ${unseen} pictures weren't here yet: scroll down to see them, then press C again.` : "";
    announce(`${written} of ${items.length} written.${rest}`, Boolean(unseen));
    const isThrough = isPage && !isImages ? !unseen : tiles.every((tile) => tile.classList.contains("done"));
    // Where what was written leaves the list, its next page is at the same address.
    if (isThrough && !marked().length) window.setTimeout(() => go(form.dataset.leaves === "yes" ? form.dataset.here : form.dataset.after), NEXT_AFTER);
  }

  function byTask(items) {
    const found = new Map();
    for (const item of items) {
      const task = taskOf(item.tile);
      if (found.has(task)) found.get(task).push(item);
      else found.set(task, [item]);
    }
    return [...found.values()];
  }

  async function post(chunk) {
    const body = isImages
      ? { tasks: chunk.map(({ tile }) => Number(tile.dataset.name)) }
      : {
          verdicts: chunk.map(({ tile, verdict, reason }) => {
            const [task, ...patch] = tile.dataset.name.split(":");
            return { task: Number(task), patch: patch.join(":"), verdict, reason, seen: tile.dataset.seen };
          }),
        };
    let response = await send(body);
    if ([400, 401].includes(response.status) && (await isSignedInAgain())) response = await send(body);
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(answer.error ?? `The service answered ${response.status}.`);
    return answer;
  }

  function send(body) {
    return reach(form.action, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": told("csrf-token").content },
      body: JSON.stringify(body),
    });
  }

  async function reach(address, options) {
    try {
      return await fetch(address, options);
    } catch {
      throw new Error("The service can't be reached: is your connection there?");
    }
  }

  // Whoever signs in again in another tab gets another token: this page takes it over, if it is the same person.
  async function isSignedInAgain() {
    const answer = await reach(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return false;
    const now = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!told("person", now)) throw new Error("You are signed out: sign in again in another tab.");
    const isSame = told("person", now).content === told("person").content;
    const isNew = isSame && told("csrf-token", now).content !== told("csrf-token").content;
    if (isNew) told("csrf-token").content = told("csrf-token", now).content;
    return isNew;
  }

  function told(name, page = document) {
    return page.querySelector(`meta[name="${name}"]`);
  }

  function settle({ tile, verdict, reason }, now) {
    for (const name of ["mark", "why", "words"]) delete tile.dataset[name];
    tell(tile, "");
    const state = now?.state ?? (isImages ? "accepted" : verdict);
    tile.classList.remove(...Object.keys(signs));
    tile.classList.add("done", state);
    tile.dataset.state = state;
    tile.dataset.mine = now?.mine ?? verdict;
    tile.dataset.reason = now?.reason ?? reason;
    if (now) tile.dataset.seen = now.seen;
    if (now) tile.dataset.title = picture(tile).alt = tile.querySelector(".picture").title = now.title;
    const sign = tile.querySelector(".sign");
    if (sign) {
      sign.textContent = signs[state];
      tile.querySelector(".word").textContent = state;
    }
    restore(tile);
    describe(tile);
  }

  function keep({ tile, verdict, reason }, text) {
    isSending = false;
    mark(tile, verdict, reason);
    isSending = true;
    tell(tile, text);
  }

  function tell(tile, text) {
    const line = tile.querySelector(".failed");
    line.textContent = text;
    line.hidden = !text;
  }

  function announce(text, isBad = false) {
    progress.textContent = text;
    progress.classList.toggle("bad", isBad);
  }

  function go(address) {
    if (!address) {
      announce("That was the last page.");
      return;
    }
    sessionStorage.setItem(FOCUS, "yes");
    isLeaving = !marked().length;
    location.assign(address);
  }

  function confirm() {
    const { said, good, unseen } = toConfirm();
    write([...said, ...good], { isPage: true, unseen });
  }

  function next() {
    const isWritten = tiles.some((tile) => tile.classList.contains("done"));
    go(isWritten && form.dataset.leaves === "yes" && !isImages ? form.dataset.here : form.dataset.after);
  }

  // ------------------------------------------------------------ moving

  function focus(tile) {
    if (!tile) return;
    box(current).tabIndex = -1;
    current = tile;
    box(tile).tabIndex = 0;
    box(tile).focus({ preventScroll: true });
    tile.scrollIntoView({ block: "nearest" });
    if (large.open) show(tile);
  }

  function move(key) {
    const at = tiles.indexOf(current);
    const top = tiles[0].offsetTop;
    const columns = Math.max(1, tiles.findIndex((tile) => tile.offsetTop !== top));
    const steps = { ArrowLeft: -1, k: -1, ArrowRight: 1, j: 1, ArrowUp: -columns, ArrowDown: columns };
    const to = Math.min(tiles.length - 1, Math.max(0, at + steps[key]));
    // The first move goes to where the keys are, not past it.
    focus(document.activeElement === box(current) || large.open ? tiles[to] : current);
  }

  function show(tile) {
    current = tile;
    const image = large.querySelector("img");
    image.src = tile.dataset.large;
    image.width = picture(tile).width;
    image.alt = tile.dataset.title;
    large.querySelector(".caption").textContent = (tile.dataset.words ? `Marked ${tile.dataset.words}. ` : "") + tile.dataset.title;
    large.querySelector("a").href = tile.dataset.link;
    if (!large.open) large.showModal();
  }

  // While this page is looked at, the next one's pictures are cut: with what is pending confirmed, it is what comes.
  async function fetchAhead() {
    if (!form.dataset.after || navigator.connection?.saveData) return;
    try {
      const answer = await fetch(form.dataset.after);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const { sizes, srcset, src } of page.querySelectorAll(".tile img")) {
        const image = new Image();
        image.fetchPriority = "low";
        Object.assign(image, { sizes, srcset, src });
      }
    } catch {
      // It comes when it is gone to.
    }
  }

  // ------------------------------------------------------------ events

  form.addEventListener("change", (event) => {
    const tile = event.target.closest(".tile");
    if (tile) cycle(tile);
  });
  form.addEventListener("focusin", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    box(current).tabIndex = -1;
    current = tile;
    box(tile).tabIndex = 0;
  });
  form.addEventListener("pointermove", (event) => {
    const tile = event.pointerType === "mouse" && event.target.closest(".tile");
    if (tile) current = tile;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (isImages) {
      confirm();
      return;
    }
    const verdict = event.submitter?.value;
    const reason = verdict === "rejected" ? document.getElementById("reason").value : "";
    const items = tiles.filter((tile) => box(tile).checked).map((tile) => ({ tile, verdict, reason }));
    if (!items.length) announce("Nothing is selected: click patches first.");
    else if (verdict) write(items);
  });
  confirmButton.addEventListener("click", (event) => {
    event.preventDefault();
    confirm();
  });
  document.getElementById("help").addEventListener("click", () => keys.showModal());
  document.getElementById("mark-all")?.addEventListener("click", () => tiles.filter((tile) => !tile.classList.contains("done") && isShown(tile)).forEach((tile) => mark(tile, "empty")));
  document.getElementById("mark-none")?.addEventListener("click", () => marked().forEach((tile) => mark(tile, "")));
  for (const dialog of [large, keys]) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }
  large.addEventListener("close", () => box(current).focus({ preventScroll: true }));

  let press;
  let wasLong = false;
  form.addEventListener("pointerdown", (event) => {
    const tile = event.target.closest(".picture") && event.target.closest(".tile");
    wasLong = false;
    if (!tile || event.pointerType === "mouse") return;
    press = window.setTimeout(() => {
      wasLong = true;
      show(tile);
    }, LONG_PRESS);
  });
  for (const name of ["pointerup", "pointercancel", "pointermove"]) {
    form.addEventListener(name, (event) => {
      if (name !== "pointermove" || Math.abs(event.movementX) + Math.abs(event.movementY) > 6) window.clearTimeout(press);
    });
  }
  form.addEventListener("contextmenu", (event) => {
    if (event.pointerType === "touch" && event.target.closest(".picture")) event.preventDefault();
  });
  form.addEventListener(
    "click",
    (event) => {
      if (wasLong && event.target.closest(".picture")) event.preventDefault();
      wasLong = false;
    },
    true,
  );
  window.addEventListener("beforeunload", (event) => {
    if (isSending || (marked().length && !isLeaving)) event.preventDefault();
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || keys.open) {
      if (keys.open && event.key === "?") keys.close();
      return;
    }
    const target = event.target;
    const isTile = target.closest?.(".tile input");
    if (!isTile && target.matches?.("input, select, textarea")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const isPress = target.matches?.("button, a, summary") && (key === " " || key === "Enter");
    if (isPress || (event.repeat && !key.startsWith("Arrow") && !"jk".includes(key))) return;
    const doing = {
      ArrowLeft: () => move(key),
      ArrowRight: () => move(key),
      ArrowUp: () => move(key),
      ArrowDown: () => move(key),
      j: () => move(key),
      k: () => move(key),
      x: () => cycle(current),
      c: confirm,
      n: next,
      p: () => form.dataset.before && go(form.dataset.before),
      o: () => window.open(current.dataset.link, "_blank", "noopener"),
      z: () => (large.open ? large.close() : show(current)),
      "?": () => keys.showModal(),
      Enter: () => !isTile || show(current),
    };
    if (!isTile || large.open) doing[" "] = () => cycle(current);
    if (!isImages) {
      for (const [reason, letter] of Object.entries(reasons)) doing[letter] = () => say(current, "rejected", reason);
      doing.s = () => say(current, "unsure");
      doing.y = () => (current.dataset.state === "pending" && !current.dataset.mine ? mark(current, "") : say(current, "accepted"));
    }
    if (!doing[key]) return;
    event.preventDefault();
    doing[key]();
    if (large.open && key !== "z" && current) show(current);
  });

  // ------------------------------------------------------------ the beginning

  for (const hidden of document.querySelectorAll(".script")) hidden.hidden = false;
  for (const tile of tiles) {
    box(tile).tabIndex = -1;
    box(tile).checked = false; // what a browser remembers of the page before
    describe(tile);
    tile.querySelector(".facts a").tabIndex = -1;
  }
  box(current).tabIndex = 0;
  count();
  if (document.readyState === "complete") fetchAhead();
  else window.addEventListener("load", fetchAhead);
  const first = sessionStorage.getItem(FOCUS);
  sessionStorage.removeItem(FOCUS);
  if (first) focus(current);
}
