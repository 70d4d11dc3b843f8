// Curves by uPlot. <div class="charts" data-charts> holds their data in a <script type="application/json">:
// {charts: [{id, title, series: [{name, label, steps, values, color}]}], marks: [{step, label}]}.
// With data-source they are read from that URL. chartsOf(element) updates them: read(url), replace(data),
// or merge(update) with the points after a step.
"use strict";

const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3], [4, 4], [12, 4]];
const CHART_HEIGHT = 250;
const MAX_TABLE_ROWS = 500;
// A page that was open for long has more points than it can show, and reads them anew.
const MAX_POINTS = 8000;
const chartSets = new WeakMap();
const chartsOf = (element) => chartSets.get(element);

function create(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function formatValue(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : value.toPrecision(4);
}

function formatTick(value) {
  if (value === null) return "";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? String(Number(value.toPrecision(4)).toExponential()) : String(Number(value.toPrecision(4)));
}

// The exponential moving average, corrected at its start. Gaps stay gaps.
function smooth(values, weight) {
  let sum = 0;
  let norm = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = sum * weight + value * (1 - weight);
    norm = norm * weight + 1 - weight;
    return sum / norm;
  });
}

// The value of a CSS variable as a colour that a canvas understands.
function readColor(element, variable) {
  element.style.color = `var(${variable})`;
  const color = getComputedStyle(element).color;
  element.style.color = "";
  return color;
}

function download(name, blob) {
  const link = create("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

class Chart {
  constructor(set, spec) {
    this.set = set;
    this.spec = spec;
    this.hidden = new Set();
    this.caption = create("figcaption", {}, create("span", { className: "chart-title", textContent: spec.title }));
    this.step = create("span", { className: "muted" });
    this.legend = create("ul", { className: "chart-legend" });
    this.plot = create("div", { className: "chart-plot", tabIndex: 0, role: "img" });
    this.table = create("div", { className: "chart-table", tabIndex: 0, hidden: true, role: "region", ariaLabel: `${spec.title} as a table` });
    const tools = create("span", { className: "chart-tools" });
    for (const [label, what, act] of [["Table", "as a table", (button) => this.toggleTable(button)], ["CSV", "as CSV", () => this.saveCsv()], ["PNG", "as an image", () => this.savePng()]]) {
      const button = create("button", { type: "button", className: "quiet", textContent: label, ariaLabel: `${spec.title} ${what}` });
      button.addEventListener("click", () => act(button));
      tools.append(button);
    }
    this.caption.append(this.step, tools);
    this.figure = create("figure", { className: "chart card" }, this.caption, this.plot, this.legend, this.table);
    this.plot.addEventListener("keydown", (event) => this.moveCursor(event));
    new ResizeObserver(() => this.resize()).observe(this.plot);
  }

  // Columns of uPlot: the steps, the values of each curve and, if they are smoothed, the smooth ones.
  columns() {
    const steps = [...new Set(this.spec.series.flatMap((each) => each.steps))].sort((a, b) => a - b);
    const places = new Map(steps.map((step, place) => [step, place]));
    const raw = this.spec.series.map((each) => {
      const column = new Array(steps.length).fill(null);
      each.steps.forEach((step, index) => {
        const value = each.values[index];
        column[places.get(step)] = this.set.isLog && value <= 0 ? null : value;
      });
      return column;
    });
    const weight = this.set.smoothing;
    return [steps, ...raw, ...(weight ? raw.map((column) => smooth(column, weight)) : [])];
  }

  draw() {
    this.uplot?.destroy();
    this.uplot = null;
    const data = this.columns();
    const width = this.plot.clientWidth;
    if (!width || !data[0].length) return;
    const ink = readColor(this.plot, "--muted");
    const line = readColor(this.plot, "--line");
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui, sans-serif" };
    const curves = this.spec.series.map((each, index) => {
      const number = each.color ?? index;
      this.colors[index] = readColor(this.plot, `--series-${(number % 6) + 1}`);
      return { stroke: this.colors[index], width: 2, dash: DASHES[number % 6], spanGaps: true, show: !this.hidden.has(each.label) };
    });
    const faint = curves.map((each) => ({ ...each, width: 1, alpha: 0.3, dash: [], points: { show: false } }));
    const series = this.set.smoothing ? [{}, ...faint, ...curves] : [{}, ...curves];
    this.uplot = new uPlot({
      width, height: CHART_HEIGHT, legend: { show: false }, cursor: { y: false, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: { distr: this.set.isLog ? 3 : 1 } },
      axes: [{ ...axis, label: "Step", labelSize: 20, labelFont: "12px system-ui, sans-serif", size: 34, values: (u, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tick.toLocaleString("en") : "")) }, { ...axis, size: 62, values: (u, ticks) => ticks.map(formatTick) }],
      series,
      hooks: { setCursor: [() => this.showValues()], draw: [(u) => this.drawMarks(u, ink)] },
    }, data, this.plot);
    this.describe();
    this.buildLegend();
  }

  get colors() { return (this.colorList ??= []); }

  resize() {
    if (!this.uplot) this.draw();
    else if (this.plot.clientWidth !== this.uplot.width) this.uplot.setSize({ width: this.plot.clientWidth, height: CHART_HEIGHT });
  }

  show(spec) {
    this.spec = spec;
    this.draw();
    if (!this.table.hidden) this.fillTable();
  }

  // New points: the lines move, and what is hovered or hidden stays.
  refresh() {
    if (!this.uplot || this.legend.children.length !== this.spec.series.length) return this.show(this.spec);
    this.uplot.setData(this.columns());
    this.describe();
    this.showValues();
    if (!this.table.hidden) this.fillTable();
  }

  describe() {
    const parts = this.spec.series.filter((each) => each.values.length).map((each) => {
      const last = each.values.length - 1;
      const lowest = each.values.reduce((low, value) => Math.min(low, value), Infinity);
      return `${each.label}: ${formatValue(each.values[0])} at step ${each.steps[0]}, ${formatValue(each.values[last])} at step ${each.steps[last]}, lowest ${formatValue(lowest)}`;
    });
    this.plot.ariaLabel = `${this.spec.title}. ${parts.join(". ")}. Arrow keys show the values of a step.`;
  }

  buildLegend() {
    this.legend.replaceChildren();
    this.spec.series.forEach((each, index) => {
      const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      swatch.setAttribute("width", "26");
      swatch.setAttribute("height", "8");
      swatch.setAttribute("aria-hidden", "true");
      const stroke = document.createElementNS("http://www.w3.org/2000/svg", "line");
      const dash = DASHES[(each.color ?? index) % 6].join(" ");
      for (const [name, value] of Object.entries({ x1: 0, x2: 26, y1: 4, y2: 4, "stroke-width": 2.5, "stroke-dasharray": dash, stroke: this.colors[index] })) stroke.setAttribute(name, value);
      swatch.append(stroke);
      const value = create("output", {});
      const button = create("button", { type: "button", className: "quiet", title: each.label, ariaPressed: String(!this.hidden.has(each.label)) }, swatch, create("span", { textContent: each.label }));
      button.addEventListener("click", () => {
        if (!this.hidden.delete(each.label)) this.hidden.add(each.label);
        this.draw();
      });
      this.legend.append(create("li", {}, button, value));
    });
    this.showValues();
  }

  // Values at the cursor; without one, the last of each curve.
  showValues() {
    const index = this.uplot?.cursor.idx;
    const isHovered = index !== null && index !== undefined && this.uplot.cursor.left >= 0;
    this.step.textContent = isHovered ? `Step ${this.uplot.data[0][index]?.toLocaleString("en") ?? ""}` : "";
    this.spec.series.forEach((each, number) => {
      const value = isHovered ? this.uplot.data[number + 1]?.[index] : each.values.at(-1);
      const output = this.legend.children[number]?.lastElementChild;
      const smoothed = isHovered && this.set.smoothing ? this.uplot.data[number + 1 + this.spec.series.length]?.[index] : null;
      if (output) output.textContent = smoothed === null || smoothed === undefined ? formatValue(value) : `${formatValue(value)} (smooth ${formatValue(smoothed)})`;
    });
  }

  moveCursor(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move || !this.uplot) return;
    event.preventDefault();
    const steps = this.uplot.data[0];
    const place = this.uplot.cursor.left >= 0 ? this.uplot.cursor.idx + move : move > 0 ? 0 : steps.length - 1;
    const index = Math.min(Math.max(place, 0), steps.length - 1);
    this.uplot.setCursor({ left: this.uplot.valToPos(steps[index], "x"), top: 5 });
  }

  // Dashed lines with numbers, which the list below the controls explains.
  drawMarks(u, ink) {
    const context = u.ctx;
    const ratio = devicePixelRatio || 1;
    context.save();
    context.strokeStyle = context.fillStyle = ink;
    context.textAlign = "left";
    context.setLineDash([3 * ratio, 3 * ratio]);
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    this.set.data.marks.forEach((mark, index) => {
      const x = Math.round(u.valToPos(mark.step, "x", true));
      if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) return;
      context.beginPath();
      context.moveTo(x, u.bbox.top);
      context.lineTo(x, u.bbox.top + u.bbox.height);
      context.stroke();
      context.fillText(String(index + 1), x + 4 * ratio, u.bbox.top + 11 * ratio);
    });
    context.restore();
  }

  toggleTable(button) {
    this.table.hidden = !this.table.hidden;
    button.ariaExpanded = String(!this.table.hidden);
    if (!this.table.hidden) this.fillTable();
  }

  fillTable() {
    const [steps, ...columns] = this.columns().slice(0, this.spec.series.length + 1);
    const head = create("tr", {}, ...["Step", ...this.spec.series.map((each) => each.label)].map((text) => create("th", { textContent: text, scope: "col" })));
    const rows = steps.map((step, index) => create("tr", {}, ...[step, ...columns.map((column) => column[index])].map((value) => create("td", { textContent: formatValue(value) }))));
    const shown = rows.slice(-MAX_TABLE_ROWS).reverse();
    const note = rows.length > shown.length ? [create("p", { className: "hint", textContent: `The newest ${shown.length} of ${rows.length} rows; CSV has all.` })] : [];
    this.table.replaceChildren(...note, create("table", {}, create("thead", {}, head), create("tbody", {}, ...shown)));
  }

  get fileName() { return `${document.title.split(" · ")[0]}-${this.spec.id}`.replace(/[^\w.-]+/g, "_"); }

  saveCsv() {
    // A spreadsheet would run a name that begins like a formula.
    const quote = (text) => `"${text.replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
    const [steps, ...columns] = this.columns().slice(0, this.spec.series.length + 1);
    const lines = steps.map((step, index) => [step, ...columns.map((column) => column[index] ?? "")].join(","));
    const head = ["step", ...this.spec.series.map((each) => quote(`${each.name} ${each.label}`))].join(",");
    download(`${this.fileName}.csv`, new Blob([[head, ...lines].join("\n"), "\n"], { type: "text/csv" }));
  }

  savePng() {
    if (!this.uplot) return;
    const source = this.uplot.ctx.canvas;
    const ratio = devicePixelRatio || 1;
    const line = 20 * ratio;
    const canvas = create("canvas", { width: source.width, height: source.height + line * (this.spec.series.length + 2) });
    const context = canvas.getContext("2d");
    context.fillStyle = readColor(this.plot, "--card");
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.font = `${13 * ratio}px system-ui, sans-serif`;
    context.fillStyle = readColor(this.plot, "--text");
    context.fillText(this.spec.title, 12 * ratio, 16 * ratio);
    context.drawImage(source, 0, line + 4 * ratio);
    this.spec.series.forEach((each, index) => {
      const y = source.height + line * (index + 2);
      context.fillStyle = this.colors[index];
      context.fillRect(12 * ratio, y - 6 * ratio, 20 * ratio, 3 * ratio);
      context.fillStyle = readColor(this.plot, "--text");
      context.fillText(`${each.label}: ${formatValue(each.values.at(-1))}`, 40 * ratio, y);
    });
    canvas.toBlob((blob) => download(`${this.fileName}.png`, blob));
  }
}

class ChartSet {
  constructor(container) {
    this.container = container;
    this.smoothing = 0;
    this.isLog = false;
    this.charts = new Map();
    this.data = { charts: [], marks: [] };
    this.controls = this.buildControls();
    this.marks = create("ol", { className: "chart-marks muted" });
    this.grid = create("div", { className: "chart-grid" });
    const source = container.querySelector('script[type="application/json"]');
    container.append(this.controls, this.marks, this.grid);
    this.replace(JSON.parse(source.textContent));
    if (container.dataset.source) this.read(container.dataset.source);
    document.addEventListener("themechange", () => this.redraw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  buildControls() {
    const range = create("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: 0 });
    const shown = create("output", { textContent: "off" });
    range.addEventListener("input", () => {
      this.smoothing = Number(range.value);
      shown.textContent = this.smoothing ? this.smoothing.toFixed(2) : "off";
      this.redraw();
    });
    const log = create("input", { type: "checkbox" });
    log.addEventListener("change", () => {
      this.isLog = log.checked;
      this.redraw();
    });
    return create("div", { className: "row chart-controls" }, create("label", {}, "Smoothing ", range, " ", shown), create("label", {}, log, " Log scale"));
  }

  redraw() { for (const chart of this.charts.values()) chart.draw(); }

  // Read all points; an update that comes meanwhile is in them, or comes again.
  async read(url) {
    if (this.isReading) return;
    this.isReading = true;
    try {
      const response = await fetch(url);
      if (!response.ok) throw new Error(`The server answered with status ${response.status}.`);
      this.replace(await response.json());
    } catch (error) {
      notify(`The curves could not be read. ${error.message}`);
    } finally {
      this.container.querySelector(".charts-place")?.remove();
      this.isReading = false;
    }
  }

  replace(data) {
    this.data = data;
    for (const spec of data.charts) {
      const known = this.charts.get(spec.id);
      if (known) known.show(spec);
      else this.add(spec);
    }
    const ids = new Set(data.charts.map((spec) => spec.id));
    if (ids.size || !this.container.dataset.source) this.container.querySelector(".charts-place")?.remove();
    for (const [id, chart] of this.charts) {
      if (ids.has(id)) continue;
      chart.figure.remove();
      this.charts.delete(id);
    }
    this.showMarks();
  }

  // Points after a step; false if points between would be missing, so that all have to be read anew.
  merge(update) {
    const size = this.data.charts.reduce((sum, chart) => sum + Math.max(0, ...chart.series.map((each) => each.steps.length)), 0);
    if (update.attempt !== this.data.attempt || update.after_step > this.data.last_step || size > MAX_POINTS) return false;
    for (const chart of update.charts) {
      const known = this.charts.get(chart.id);
      if (!known) this.add(chart);
      else for (const each of chart.series) this.extend(known.spec, each, update.after_step);
      known?.refresh();
    }
    this.data.last_step = update.last_step;
    this.data.marks = update.marks;
    this.showMarks();
    return true;
  }

  extend(spec, added, after) {
    const series = spec.series.find((each) => each.name === added.name);
    if (!series) return spec.series.push(added);
    const kept = series.steps.findIndex((step) => step > after);
    const length = kept < 0 ? series.steps.length : kept;
    series.steps.splice(length, Infinity, ...added.steps);
    series.values.splice(length, Infinity, ...added.values);
  }

  add(spec) {
    const chart = new Chart(this, spec);
    this.charts.set(spec.id, chart);
    if (!this.data.charts.includes(spec)) this.data.charts.push(spec);
    this.grid.append(chart.figure);
    chart.draw();
  }

  showMarks() {
    this.controls.hidden = !this.charts.size;
    const text = this.data.marks.map((mark) => `Step ${mark.step}: ${mark.label}`);
    if (text.join() === [...this.marks.children].map((item) => item.textContent).join()) return;
    this.marks.replaceChildren(...text.map((each) => create("li", { textContent: each })));
    this.redraw();
  }
}

for (const container of document.querySelectorAll("[data-charts]")) chartSets.set(container, new ChartSet(container));
