// The Try-it panel: a form, and the messages of one job as they pass.
import { byId, element, setText } from "./dom.js";
import { time } from "./format.js";
import { brief, explainer } from "./explain.js";
import { JOB, runJob } from "./job.js";
import { relayUrl } from "./reads.js";

let running = null;
let playChosen = false;

export function build() {
  byId("job").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort(new Error("stopped"));
    else send();
  });
  byId("play").addEventListener("change", () => (playChosen = true));
}

/** Plays the provider where no other is online, until the box is touched. */
export function offer(kind, handlers) {
  if (kind === JOB && !playChosen) byId("play").checked = !handlers.some(({ online }) => online);
}

async function send() {
  running = new AbortController();
  setText(byId("send"), "Stop");
  byId("messages").replaceChildren();
  byId("answer").hidden = byId("page-of-job").hidden = true;
  const state = (text, bad = false) => {
    setText(byId("try-state"), text);
    byId("try-state").classList.toggle("bad", bad);
  };
  try {
    const { result, took } = await runJob({
      url: relayUrl,
      prompt: byId("prompt").value,
      play: byId("play").checked,
      signal: running.signal,
      onStep: state,
      onJob: ({ id }) => {
        byId("page-of-job").querySelector("a").href = `/jobs/${id}`;
        byId("page-of-job").hidden = false;
      },
      onMessage: teller(),
    });
    state(`Done: asked, answered and delivered in ${time(took)}.`);
    setText(byId("answer"), result.content.slice(0, 4000));
    byId("answer").hidden = false;
  } catch (error) {
    // nostr-tools rejects with text in places.
    state(`Not done: ${error?.message ?? error}.`, true);
  } finally {
    running = null;
    setText(byId("send"), "Send the job");
  }
}

/** Adds messages to the list. */
function teller() {
  const explain = explainer();
  const mine = running;
  return (who, way, message) => {
    if (running !== mine) return; // comes late, of a job that is over
    const said = `${who} ${way === "out" ? "→ relay" : "← relay"}`;
    const whole = element("pre", {}, JSON.stringify(message, null, 2));
    const text = element("summary", {}, element("code", {}, brief(message)));
    const item = element(
      "li",
      { class: `${way} ${who}`, "data-verb": message[0] },
      element("p", {}, element("b", {}, said), ` ${explain(way, message)}`),
      element("details", {}, text, whole),
    );
    byId("messages").append(item);
  };
}
