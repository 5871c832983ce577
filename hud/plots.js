// The plots over time: what is in each, its legend, its text and its table. uPlot draws.
import uPlot from "uplot";
import { byId, element, fillTable, setText } from "./dom.js";
import { clockTime, dayOf, moment, number, rate, short, time } from "./format.js";
import { columns, summary } from "./history.js";
import { STATES } from "./market.js";

const HEIGHT = 220; // px
/** A plot is at least so many points wide. */
const LEAST = 10;
/** Rows of a plot's table, the newest first. */
const TABLE_ROWS = 60;

const PLOTS = [
  {
    name: "events",
    title: "Events a second",
    write: rate,
    series: [
      { key: "rate", label: "events stored", colour: "events", area: true },
      { key: "answers", label: "jobs answered", colour: "success" },
    ],
  },
  {
    name: "latency",
    title: "Time to result",
    write: time,
    series: [
      { key: "p50", label: "median", colour: "events", points: true },
      { key: "p99", label: "p99", colour: "open", points: true },
    ],
  },
  {
    name: "states",
    title: "Jobs by state",
    write: number,
    tick: short,
    wide: true,
    // From one job to a hundred thousand on one axis that has a zero.
    scale: { distr: 4, asinh: 1 },
    splits: (max) => [0, ...Array.from({ length: 10 }, (_, n) => 10 ** n).flatMap((one) => (max < 3000 ? [one, 3 * one] : [one]))].filter((value) => value <= max),
    series: STATES.map((state) => ({ key: state, label: state.replace("-", " "), colour: state, area: state === "success" })),
  },
];

const SECONDS = { minute: 60, hour: 3600 };

const colour = (node, name) => {
  node.style.color = `var(--${name})`;
  return getComputedStyle(node).color; // resolved for the theme
};

class Plot {
  constructor(spec) {
    this.spec = spec;
    this.hidden = new Set();
    this.readout = element("p", { class: "readout" });
    this.canvas = element("div", { class: "canvas", role: "img" });
    this.table = element("table");
    this.details = element("details", {}, element("summary", {}, "As a table"), element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${spec.title}, as a table` }, this.table));
    this.figure = element(
      "figure",
      { class: `card plot${spec.wide ? " wide" : ""}`, "data-plot": spec.name },
      element("figcaption", {}, element("h3", {}, spec.title), this.readout),
      element("ul", { class: "legend" }, spec.series.map((series) => element("li", {}, this.switch(series)))),
      this.canvas,
      this.details,
    );
    this.details.addEventListener("toggle", () => this.fill());
    new ResizeObserver(() => this.drawn?.setSize({ width: this.canvas.clientWidth, height: HEIGHT })).observe(this.canvas);
  }

  /** The legend's entry: a button that shows and hides its line. */
  switch(series) {
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = `var(--${series.colour})`;
    const button = element("button", { type: "button", "aria-pressed": "true" }, swatch, series.label);
    button.addEventListener("click", () => {
      const shown = this.hidden.delete(series.key);
      if (!shown) this.hidden.add(series.key);
      button.setAttribute("aria-pressed", String(shown));
      this.drawn?.setSeries(this.spec.series.indexOf(series) + 1, { show: shown });
      if (this.drawn) this.read();
    });
    return button;
  }

  set(data, step) {
    const stepChanged = this.step !== step;
    Object.assign(this, { data, step });
    const table = [data.at, ...this.spec.series.map(({ key }) => data[key])];
    if (this.drawn && !stepChanged) this.drawn.setData(table);
    else this.draw(table);
    this.describe();
    this.fill();
  }

  draw(table) {
    this.drawn?.destroy();
    this.drawn = new uPlot(this.options(), table, this.canvas);
  }

  /** Draws again, with the colours of the theme. */
  restyle() {
    if (this.drawn) this.draw(this.drawn.data);
  }

  options() {
    const { spec, step } = this;
    const probe = this.readout;
    const [ink, line] = [colour(probe, "dim"), colour(probe, "line")];
    const series = spec.series.map(({ key, colour: name, area, points }) => {
      const stroke = colour(probe, name);
      return {
        stroke,
        width: 2,
        show: !this.hidden.has(key),
        fill: area ? (drawn) => fade(drawn, stroke) : undefined,
        points: { show: points === true, size: 4, fill: stroke, filter: alone },
      };
    });
    probe.style.color = "";
    const axis = { stroke: ink, font: "12px system-ui, sans-serif", grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
    const top = (drawn, min, max) => [0, max > 0 ? max * 1.1 : 1];
    return {
      width: this.canvas.clientWidth,
      height: HEIGHT,
      padding: [12, 20, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 }, sync: { key: "hud" } },
      scales: { x: { time: true, range: (drawn, min, max) => [Math.min(min, max - LEAST * SECONDS[step]), max] }, y: { ...spec.scale, range: top } },
      axes: [
        { ...axis, size: 30, space: 60, values: (drawn, splits) => splits.map((at, n) => timeLabel(at, splits[n - 1])) },
        {
          ...axis,
          size: 56,
          values: (drawn, splits) => splits.map(spec.tick ?? spec.write),
          ...(spec.splits && { splits: (drawn, at, min, max) => spec.splits(max), filter: (drawn, splits) => splits }),
        },
      ],
      series: [{}, ...series],
      hooks: { setCursor: [() => this.read()] },
    };
  }

  /** Says the values under the pointer, or else the newest. */
  read() {
    const { at: times, ...values } = this.data;
    if (times.length === 0) return;
    const n = Math.min(this.drawn?.cursor.idx ?? Infinity, times.length - 1);
    const said = this.spec.series
      .filter(({ key }) => !this.hidden.has(key) && (!this.spec.wide || values[key][n] > 0))
      .map(({ key, label }) => `${label} ${this.spec.write(values[key][n])}`);
    setText(this.readout, `${moment(times[n])}: ${said.join(" · ") || "none"}`);
  }

  /** The plot in words, for who does not see it. */
  describe() {
    const { at } = this.data;
    this.read();
    const parts = this.spec.series.map(({ key, label }) => {
      const known = summary(this.data[key]);
      if (known === null) return `${label}: nothing yet`;
      const [last, most, mean] = [known.last, known.most, known.mean].map(this.spec.write);
      return `${label}: last ${last}, at most ${most}, ${mean} on average`;
    });
    const from = at.length === 0 ? "no points" : `from ${moment(at[0])} to ${moment(at.at(-1))}`;
    this.canvas.setAttribute("aria-label", `${this.spec.title}, ${from}. ${parts.join("; ")}.`);
  }

  fill() {
    if (!this.details.open || !this.data) return;
    const rows = this.data.at.map((at, n) => [moment(at), ...this.spec.series.map(({ key }) => this.spec.write(this.data[key][n]))]);
    const head = [this.step === "hour" ? "Hour" : "Minute", ...this.spec.series.map(({ label }) => label)];
    fillTable(this.table, `${this.spec.title}, the newest first`, head, rows.reverse().slice(0, TABLE_ROWS));
  }
}

/** The points that stand alone between gaps, where no line would show them. */
function alone(drawn, n) {
  const values = drawn.data[n];
  const none = (at) => (values[at] ?? null) === null;
  return values.flatMap((value, at) => (value !== null && none(at - 1) && none(at + 1) ? [at] : []));
}

/** From the line's colour down to nothing. */
function fade(drawn, stroke) {
  const { top, height } = drawn.bbox;
  const gradient = drawn.ctx.createLinearGradient(0, top, 0, top + height);
  gradient.addColorStop(0, stroke.replace(/^rgb\((.*)\)$/, "rgba($1, 0.45)"));
  gradient.addColorStop(1, stroke.replace(/^rgb\((.*)\)$/, "rgba($1, 0.03)"));
  return gradient;
}

/** The time, or the day where it is another than that of the tick before. */
function timeLabel(at, before) {
  return before !== undefined && dayOf(at) !== dayOf(before) ? dayOf(at) : clockTime(at);
}

let plots = [];
let stepDrawn = null;
/** The step that is drawn, null while none is. */
export const drawnStep = () => stepDrawn;

export function build() {
  plots = PLOTS.map((spec) => new Plot(spec));
  byId("plots").replaceChildren(...plots.map(({ figure }) => figure));
  addEventListener("theme", () => plots.forEach((plot) => plot.restyle()));
}

/** Shows a history, or says why there is none. */
export function show(history, step) {
  const none = !history.points.some(({ stored }) => stored > 0);
  say(none ? "Nothing has happened yet. The relay keeps the counts of every minute and hour from its first event on." : "");
  if (none) return;
  stepDrawn = step;
  const data = columns(history);
  for (const plot of plots) plot.set(data, step);
}

/** A line instead of the plots. */
export function say(text) {
  if (text !== "") stepDrawn = null;
  byId("no-history").hidden = text === "";
  byId("plots").hidden = text !== "";
  setText(byId("no-history"), text);
}
