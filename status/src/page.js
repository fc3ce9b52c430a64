// Refreshes the page's content by server-sent events, and sends actions.
"use strict";

const main = document.querySelector("main");
const live = document.querySelector("#live");
const pause = document.querySelector("#pause");
document.documentElement.classList.add("script");

// Of the content only what has changed is replaced, so that the focus, the scroll position and a
// selection of text survive a refresh.
function update(now, next) {
    if (now.isEqualNode(next)) {
        return;
    }
    const alike = now.nodeType === Node.ELEMENT_NODE && now.nodeName === next.nodeName
        && now.nodeName !== "BUTTON";
    if (!alike) {
        now.replaceWith(next);
        return;
    }
    for (const { name } of [...now.attributes]) {
        if (!next.hasAttribute(name)) {
            now.removeAttribute(name);
        }
    }
    for (const { name, value } of [...next.attributes]) {
        now.setAttribute(name, value);
    }
    if (now.nodeName === "TBODY") {
        updateRows(now, next);
        return;
    }
    const [old, fresh] = [[...now.childNodes], [...next.childNodes]];
    fresh.forEach((node, at) => (at < old.length ? update(old[at], node) : now.append(node)));
    old.slice(fresh.length).forEach((node) => node.remove());
}

// Rows are matched by their key: a button that has the focus goes on to act on the same tunnel.
function updateRows(now, next) {
    const fresh = [...next.children];
    const keys = new Set(fresh.map((row) => row.dataset.key));
    const old = new Map();
    for (const row of [...now.children]) {
        if (keys.has(row.dataset.key)) {
            old.set(row.dataset.key, row);
        } else {
            row.remove();
        }
    }
    let cursor = now.firstElementChild;
    for (const row of fresh) {
        const same = old.get(row.dataset.key);
        if (!same) {
            now.insertBefore(row, cursor);
        } else {
            if (same === cursor) {
                cursor = cursor.nextElementSibling;
            } else {
                now.insertBefore(same, cursor);
            }
            update(same, row);
        }
    }
}

// Seconds until the page asks again after a response that was no stream of events.
const PAUSE_AFTER_REFUSAL = 5;

let events;
let nextFollow;
let isPaused;

function follow() {
    isPaused = false;
    const query = new URLSearchParams(location.search);
    query.set("view", "events");
    events = new EventSource(`?${query}`);
    events.addEventListener("status", ({ data }) => {
        const next = new DOMParser().parseFromString(`<main>${data}</main>`, "text/html");
        update(main, document.adoptNode(next.querySelector("main")));
        live.textContent = "";
    });
    events.addEventListener("error", () => {
        live.textContent = "Connection lost; trying again. The figures are old.";
        // A browser reconnects by itself unless the response was an error, as of a proxy in between.
        if (events.readyState === EventSource.CLOSED) {
            nextFollow = setTimeout(follow, PAUSE_AFTER_REFUSAL * 1000);
        }
    });
    pause.textContent = "Pause";
}

pause.hidden = false;
pause.addEventListener("click", () => {
    if (isPaused) {
        follow();
        live.textContent = "";
    } else {
        isPaused = true;
        clearTimeout(nextFollow);
        events.close();
        pause.textContent = "Go on";
        live.textContent = "Paused.";
    }
});

main.addEventListener("click", async ({ target }) => {
    const button = target.closest("button[data-action]");
    if (!button || !confirm(`${button.getAttribute("aria-label")}?`)) {
        return;
    }
    const body = button.dataset.action;
    try {
        const response = await fetch("?", {
            method: "POST", headers: { "content-type": "application/json" }, body,
        });
        live.textContent = response.ok ? "Done." : `Refused: ${await response.text()}`;
    } catch {
        live.textContent = "The action was not sent: no connection.";
    }
});

follow();
