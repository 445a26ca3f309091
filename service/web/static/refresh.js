// While work is under way the page looks again by itself: <main data-refresh="3"> is replaced by what is true now, and
// when the server sets no data-refresh any more, it stops. Nothing moves; focus and place on the page stay.
const main = document.getElementById("main");
const messages = document.getElementById("messages");
const MOST_FAILURES = 5;
const CONTROLS = "a, button, input, select";
let failures = 0;

function wait() {
  const seconds = Number(main.dataset.refresh);
  if (seconds) setTimeout(look, seconds * 1000 * (failures + 1));
}

async function look() {
  if (document.hidden) {
    document.addEventListener("visibilitychange", look, { once: true });
    return;
  }
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" });
    if (answer.type === "opaqueredirect" || [401, 404, 409].includes(answer.status)) {
      location.reload(); // signed out meanwhile, or the project is gone: that page says it
      return;
    }
    if (!answer.ok) throw new Error(answer.status);
    failures = 0;
    replace(new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main"));
  } catch {
    failures += 1;
    if (failures >= MOST_FAILURES) {
      say("The numbers are no longer looked up by themselves: the service doesn't answer. Load the page again.", "bad");
      return;
    }
  }
  wait();
}

function replace(now) {
  const wasBusy = "refresh" in main.dataset;
  if (now.dataset.refresh) main.dataset.refresh = now.dataset.refresh;
  else delete main.dataset.refresh;
  if (now.textContent !== main.textContent && !isSelecting()) {
    const focused = main.contains(document.activeElement) ? address(document.activeElement) : null;
    const [before, after] = [[...main.children], [...now.children]];
    const isSame = before.length === after.length && before.every((one, at) => one.tagName === after[at].tagName);
    if (!isSame) change(main, () => main.replaceChildren(...now.childNodes));
    // Only what changed: a list that somebody has open in another part stays so.
    else before.forEach((one, at) => one.textContent !== after[at].textContent && change(one, () => one.replaceWith(after[at])));
    if (focused && !main.contains(document.activeElement)) {
      [...main.querySelectorAll(CONTROLS)].find((one) => address(one) === focused)?.focus();
    }
  }
  if (wasBusy && !main.dataset.refresh) say("All work is done; the numbers are those of now.", "good");
}

// What somebody chose and hasn't sent yet stays chosen.
function change(part, replace) {
  const chosen = [...part.querySelectorAll("select[id], input[type=checkbox][id]")];
  replace();
  for (const old of chosen) {
    const control = document.getElementById(old.id);
    if (!control) continue;
    if (old.tagName === "SELECT") control.value = old.value;
    else control.checked = old.checked;
  }
}

function address(element) {
  return element.id || `${element.tagName} ${element.getAttribute("href")} ${element.textContent}`;
}

function isSelecting() {
  const selection = getSelection();
  return !selection.isCollapsed && main.contains(selection.anchorNode);
}

function say(text, kind) {
  const message = document.createElement("p");
  message.className = `message ${kind}`;
  message.textContent = text;
  messages.replaceChildren(message);
}

wait();
