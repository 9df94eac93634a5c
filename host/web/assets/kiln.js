// Keeps the page up to date, and adds keys. Everything can be read and done without it.
"use strict";

(() => {
  const main = document.getElementById("main");
  const pace = document.getElementById("pace");
  const said = document.getElementById("pace-said");
  const isLive = main?.dataset.live === "on";
  document.documentElement.classList.add("scripted");

  let source = null;
  let held = false; // the reader has stopped updates
  let busy = false;
  let again = false;

  function say(state, words) {
    if (!pace) return;
    pace.dataset.state = state;
    if (said.textContent !== words) said.textContent = words;
  }

  // How long a page says what was just done.
  const SAID_MS = 10_000;
  const opened = performance.now();

  // Whether an update now would take something out of the reader's hands.
  function isInUse() {
    const chosen = document.getSelection();
    if (chosen && !chosen.isCollapsed && main.contains(chosen.anchorNode)) return true;
    return main.querySelector("details.pop[open]") !== null;
  }

  // Fields and opened parts stay as the reader left them.
  const callbacks = {
    beforeNodeMorphed: (old) => !(old instanceof Element && old.matches("[data-keep]")),
    beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
  };

  // Puts the page as it is now in place of what is shown, without moving what is where it was.
  async function update() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      if (isInUse()) return;
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "manual" });
      if (!answer.ok) {
        say("off", answer.type === "opaqueredirect" ? "Logged out" : "No answer");
        return;
      }
      const text = await answer.text();
      if (isInUse()) return;
      const page = new DOMParser().parseFromString(text, "text/html");
      const nav = document.querySelector("header.top nav");
      const fresh = page.getElementById("main");
      if (!fresh) return;
      // What was done is said for as long as it takes to read it, and not again with each update.
      if (performance.now() - opened > SAID_MS) fresh.querySelector(".notice.good")?.remove();
      Idiomorph.morph(main, fresh.innerHTML, { morphStyle: "innerHTML", ignoreActiveValue: true, callbacks });
      Idiomorph.morph(nav, page.querySelector("header.top nav").innerHTML, { morphStyle: "innerHTML" });
      document.title = page.title;
      say("on", "Live");
      if (fresh.dataset.live === "off") stop();
    } catch {
      say("off", "No answer");
    } finally {
      busy = false;
      if (again) {
        again = false;
        update();
      }
    }
  }

  function start() {
    if (!isLive || held || source || document.hidden) return;
    source = new EventSource("/events");
    source.addEventListener("open", () => say("on", "Live"));
    source.addEventListener("sample", update);
    source.addEventListener("error", () => say("off", "No answer"));
  }

  function stop() {
    source?.close();
    source = null;
  }

  pace?.addEventListener("click", () => {
    held = !held;
    pace.setAttribute("aria-pressed", String(held));
    if (held) {
      stop();
      say("held", "Stopped");
    } else {
      say("on", "Live");
      update();
      start();
    }
  });

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop();
    else {
      if (!held && isLive) update();
      start();
    }
  });
  addEventListener("pagehide", stop);
  addEventListener("pageshow", start);

  // A select of a filter takes effect at once.
  document.addEventListener("change", (event) => {
    if (event.target.matches("form.filter select")) event.target.form.requestSubmit();
  });

  const pages = { o: "/", q: "/queues", f: "/failed", p: "/plugins", h: "/hosts", s: "/schedules", t: "/stats", a: "/audit" };
  let going = 0;
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select, textarea");
    if (event.key === "Escape") {
      const open = document.querySelector("details.pop[open]");
      if (open) {
        open.open = false;
        open.querySelector("summary").focus();
      } else if (typing) event.target.blur();
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      const filter = document.querySelector("[data-filter]");
      if (filter) {
        event.preventDefault();
        filter.focus();
        filter.select();
      }
    } else if (event.key === "g") {
      going = Date.now();
    } else if (Date.now() - going < 1500 && pages[event.key]) {
      location.href = pages[event.key];
    }
  });

  start();
})();
