"use strict";

// Sends the form in #steps again and again, until the answer's #steps has none. Without this script
// an operator presses the form's button, once for each step.
{
    const steps = document.getElementById("steps");

    const goOn = async () => {
        let form = steps.querySelector("form");
        while (form) {
            const answer = await fetch(form.action, { method: "POST", body: new FormData(form) });
            const page = new DOMParser().parseFromString(await answer.text(), "text/html");
            const next = page.getElementById("steps");
            if (!answer.ok || !next) {
                throw new Error(`${answer.status} ${answer.url}`);
            }
            steps.replaceChildren(...next.childNodes);
            form = steps.querySelector("form");
        }
    };

    steps.classList.add("by-itself");
    goOn().catch(() => {
        steps.classList.remove("by-itself");
        document.getElementById("steps-failed").hidden = false;
    });
}
