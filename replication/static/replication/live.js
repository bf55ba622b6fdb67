"use strict";

// Loads the page again every few seconds, and replaces its [data-live] parts that have changed, until
// the page says that nothing more will change. A part in which the reader selects text, has the focus
// or has opened something waits for the next time. Without this script the whole page is reloaded.
{
    const EVERY_MS = 5000;
    let isLeaving = false;
    const stale = document.getElementById("live-stale");

    // Each answer has a token of its own, which is no change.
    const textOf = (part) => part.innerHTML.replace(/(name="csrfmiddlewaretoken" value=")[^"]*/g, "$1");

    const isInUse = (part) => {
        const selection = document.getSelection();
        const hasSelection = selection && !selection.isCollapsed && selection.containsNode(part, true);
        return hasSelection || part.contains(document.activeElement) || part.querySelector("details[open]");
    };

    const refresh = async () => {
        const answer = await fetch(location.href);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const content = page.getElementById("content-main");
        if (!answer.ok || answer.redirected || !page.getElementById("live-state")) {
            throw new Error(`${answer.status} ${answer.url}`);
        }
        let isWhole = true;
        for (const part of document.querySelectorAll("[data-live]")) {
            const next = page.getElementById(part.id);
            if (!next || textOf(next) === textOf(part)) {
                continue;
            }
            if (isInUse(part)) {
                isWhole = false;
            } else {
                part.replaceChildren(...next.childNodes);
            }
        }
        return isWhole && !("unended" in content.dataset);
    };

    const goOn = async () => {
        let isOver = false;
        if (!document.hidden && !isLeaving) {
            try {
                isOver = await refresh();
                stale.hidden = true;
            } catch {
                stale.hidden = false;
            }
        }
        if (!isOver) {
            setTimeout(goOn, EVERY_MS);
        }
    };

    // The answer to a form has messages, which must not be spent on a refresh.
    document.addEventListener("submit", () => { isLeaving = true; });
    setTimeout(goOn, EVERY_MS);
}
