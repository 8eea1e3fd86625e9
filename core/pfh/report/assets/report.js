"use strict";
// Text of models and datasets enters the page through textContent alone.

const PAGE_SIZE = 20;
const LONG_PROMPT = 1500;
const PROMPT_END = 700;
const RANK = { worse: 0, changed: 1, better: 2, same: 3, unscored: 4 };
const data = JSON.parse(document.getElementById("samples-data").textContent);
const plots = JSON.parse(document.getElementById("plots-data").textContent);
const rows = data.groups.flatMap((group, index) => group.samples.map((sample) => ({ group, index, sample })));

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(className, text, onClick) {
  const made = element("button", className, text);
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

// ---- one sample ----

function card({ group, sample }, unfold) {
  const made = element("article", `sample ${sample.change}`);
  made.tabIndex = -1;
  const head = element("header");
  head.append(element("span", `chip ${sample.change}`, sample.transition));
  head.append(element("strong", "", group.benchmark));
  if (sample.category) head.append(element("span", "category", sample.category));
  if (stageNames().length > 1) head.append(element("span", "muted", `after ${group.stageName}`));
  head.append(element("code", "sample-id", sample.id));
  made.append(head, prompt(data.texts[sample.prompt]));
  if (sample.target !== null) made.append(labelled("Target", data.texts[sample.target]));
  const sides = element("div", "sides");
  sides.append(side("Before", sample.before, group, unfold), side("After", sample.after, group, unfold));
  made.append(sides);
  return made;
}

function prompt(text) {
  const box = element("div", "prompt");
  const body = element("pre", "", text);
  box.append(element("span", "label", "Prompt"), body);
  if (text.length > LONG_PROMPT) {
    body.textContent = `…${text.slice(-PROMPT_END)}`; // worked examples come first, the question last
    box.append(button("link", "Show the whole prompt", (event) => {
      body.textContent = text;
      event.target.remove();
    }));
  }
  return box;
}

function side(title, answer, group, unfold) {
  const box = element("div", "side");
  const label = element("div", "side-head");
  label.append(element("span", "label", title));
  label.append(element("span", "muted", scoreText(answer, group)));
  if (answer.status !== "ok") label.append(element("span", "chip status", answer.status.replace("_", " ")));
  box.append(label);
  const show = () => {
    const text = data.texts[answer.text];
    return text ? element("pre", "completion", text) : element("p", "muted completion", "(empty)");
  };
  if (group.sensitive && !unfold) {
    box.append(button("fold", "Completion may be harmful. Show it", (event) => event.target.replaceWith(show())));
  } else {
    box.append(show());
  }
  if (answer.labels !== undefined) box.append(labelled("Judges", data.texts[answer.labels]));
  if (answer.extracted !== null) box.append(labelled("Read as", data.texts[answer.extracted]));
  return box;
}

function scoreText(answer, group) {
  const score = answer.score === null ? "not scored" : `${group.metric} ${Number(answer.score.toPrecision(4))}`;
  return answer.tokens === null ? score : `${score} · ${answer.tokens} tokens`;
}

function labelled(name, text) {
  const box = element("p", "labelled");
  box.append(element("span", "label", name), element("code", "", text));
  return box;
}

// ---- filters ----

const filters = document.getElementById("filters");
const FIELDS = {
  stage: (row) => [String(row.group.stage)],
  family: (row) => [row.group.family],
  benchmark: (row) => [row.group.benchmark],
  category: (row) => [row.sample.category],
  transition: (row) => [row.sample.transition],
  status: (row) => [row.sample.before.status, row.sample.after.status],
  judges: (row) => [row.sample.judges || ""],
};
const names = Object.keys(FIELDS);
let shown = [];
let page = 0;

function stageNames() {
  return [...new Set(data.groups.map((group) => group.stage))];
}

function accepts(row, upTo) {
  return names.slice(0, upTo).every((name) => {
    const wanted = filters.elements[name].value;
    return wanted === "" || FIELDS[name](row).includes(wanted.slice(1));
  });
}

function matches(row, needle) {
  if (!needle) return true;
  const { sample } = row;
  return [sample.prompt, sample.before.text, sample.after.text].some((index) => lowered(index).includes(needle));
}

const lower = new Map();
function lowered(index) {
  if (!lower.has(index)) lower.set(index, data.texts[index].toLowerCase());
  return lower.get(index);
}

// Each filter offers what the ones before it leave. Values carry a prefix, so that an empty category is not "all".
function offer() {
  names.forEach((name, position) => {
    const select = filters.elements[name];
    const counts = new Map();
    for (const row of rows) {
      if (!accepts(row, position)) continue;
      for (const value of new Set(FIELDS[name](row))) counts.set(value, (counts.get(value) || 0) + 1);
    }
    const chosen = select.value;
    const all = element("option", "", "all");
    all.value = "";
    const values = [...counts.keys()];
    if (name !== "stage" && name !== "benchmark") values.sort();
    select.replaceChildren(all, ...values.map((value) => {
      const option = element("option", "", `${optionText(name, value)} (${counts.get(value)})`);
      option.value = `=${value}`;
      return option;
    }));
    select.value = counts.has(chosen.slice(1)) ? chosen : "";
    select.closest("label").hidden = counts.size < 2 && select.value === "";
  });
}

function optionText(name, value) {
  if (name === "stage") return data.groups.find((group) => String(group.stage) === value).stageName;
  return (name === "status" ? value.replace("_", " ") : value) || "none";
}

function update() {
  offer();
  const needle = filters.elements.search.value.trim().toLowerCase();
  shown = rows.filter((row) => accepts(row, names.length) && matches(row, needle));
  if (filters.elements.order.value === "worse") {
    shown = [...shown].sort((a, b) => RANK[a.sample.change] - RANK[b.sample.change]);
  }
  draw(0);
}

function pageCount() {
  return Math.max(1, Math.ceil(shown.length / PAGE_SIZE));
}

function draw(wanted) {
  page = Math.min(Math.max(wanted, 0), pageCount() - 1);
  const first = page * PAGE_SIZE;
  const rowsHere = shown.slice(first, first + PAGE_SIZE);
  const unfold = filters.elements.unfold.checked;
  document.getElementById("sample-list").replaceChildren(...rowsHere.map((row) => card(row, unfold)));
  const range = shown.length > PAGE_SIZE ? `${first + 1}–${first + rowsHere.length} of ` : "";
  const found = shown.length === rows.length ? "samples" : `matches among ${rows.length} samples`;
  document.getElementById("sample-count").textContent = `${range}${shown.length} ${found}`;
  for (const label of document.querySelectorAll(".page-number")) label.textContent = `${page + 1} / ${pageCount()}`;
  for (const turn of document.querySelectorAll("[data-page]")) {
    const target = page + Number(turn.dataset.page);
    turn.disabled = target < 0 || target >= pageCount();
  }
}

// ---- keys ----

function move(step) {
  const cards = [...document.querySelectorAll("article.sample")];
  let next = cards.indexOf(document.activeElement.closest("article.sample")) + step;
  if (next >= cards.length && page + 1 < pageCount()) {
    draw(page + 1);
    next = 0;
  } else if (next < 0 && step < 0 && page > 0) {
    draw(page - 1);
    next = PAGE_SIZE - 1;
  }
  const target = document.querySelectorAll("article.sample")[Math.max(next, 0)];
  if (!target) return;
  target.focus({ preventScroll: true });
  target.scrollIntoView({ block: "start" });
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "o") {
    const current = document.activeElement.closest("article.sample");
    if (current) for (const fold of current.querySelectorAll("button.fold")) fold.click();
  } else if (event.key === "/") {
    event.preventDefault();
    filters.elements.search.focus();
  }
}

function openSamples(group, transition) {
  filters.reset();
  const wanted = { stage: group.stage, family: group.family, benchmark: group.benchmark, transition };
  offer();
  for (const [name, value] of Object.entries(wanted)) {
    filters.elements[name].value = `=${value}`;
    offer();
  }
  update();
  document.getElementById("samples").scrollIntoView();
}

if (filters) {
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("input", update);
  document.addEventListener("keydown", onKey);
  for (const turn of document.querySelectorAll("[data-page]")) {
    turn.addEventListener("click", () => {
      draw(page + Number(turn.dataset.page));
      document.getElementById("samples").scrollIntoView();
    });
  }
  for (const count of document.querySelectorAll("button.count")) {
    count.addEventListener("click", () => openSamples(data.groups[count.dataset.group], count.dataset.transition));
  }
  update();
}

// ---- plots ----

function drawPlots() {
  const style = getComputedStyle(document.body);
  const ink = style.getPropertyValue("--ink").trim();
  const grid = style.getPropertyValue("--line").trim();
  const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true };
  for (const box of document.querySelectorAll(".plot")) {
    const figure = plots[Number(box.dataset.plot)];
    const given = figure.layout || {};
    const { template, title, ...rest } = given;
    const layout = {
      height: 400,
      margin: { t: 16, r: 16, b: 48, l: 56 },
      ...rest,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { ...given.font, color: ink, family: style.fontFamily },
    };
    for (const name of Object.keys({ xaxis: 0, yaxis: 0, ...given })) {
      if (/^[xy]axis\d*$/.test(name)) layout[name] = { ...axis, ...given[name] };
    }
    box.replaceChildren();
    Plotly.newPlot(box, figure.data, layout, { displayModeBar: false, responsive: true });
  }
}

if (plots.length) {
  drawPlots();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawPlots);
}
