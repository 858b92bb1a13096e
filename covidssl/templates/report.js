"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const svg = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);
  const make = (name, properties) => Object.assign(document.createElement(name), properties);

  // Colours: as the system has them, until the button is pressed.
  const theme = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const name = () => { theme.textContent = dark() ? "Light colours" : "Dark colours"; };
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    name();
  });
  system.addEventListener("change", name);
  theme.hidden = false;
  name();

  // The table of scans: sorted by any column, filtered by words and outcomes; the cards follow it.
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const asNumbers = (a, b) => Number(a) - Number(b);
  const asWords = (a, b) => collator.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);

  const sorted = (scans, column) => {
    const body = scans.querySelector(".verdicts tbody");
    const heads = all(".verdicts thead th", scans);
    const compare = "number" in heads[column].dataset ? asNumbers : asWords;
    const up = heads[column].getAttribute("aria-sort") !== "ascending";
    heads.forEach((head, k) => head.setAttribute("aria-sort", k !== column ? "none" : up ? "ascending" : "descending"));
    const keyed = [...body.rows].map((row) => [row.cells[column].dataset.value, row]);
    // What has no value stays at the end, whichever way.
    keyed.sort(([a], [b]) => (a === "") - (b === "") || (up ? compare(a, b) : compare(b, a)));
    body.append(...keyed.map(([, row]) => row));
    const cards = keyed.map(([, row]) => cardOf(row)).filter(Boolean);
    scans.querySelector(".cards").append(...cards);
  };

  const cardOf = (row) => {
    const link = row.cells[0].querySelector("a");
    return link && document.getElementById(link.hash.slice(1));
  };

  const filtered = (scans) => {
    const words = scans.querySelector("input[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = new Set(all(".outcomes input:checked", scans).map((box) => box.value));
    const rows = [...scans.querySelector(".verdicts tbody").rows];
    let shown = 0;
    for (const row of rows) {
      // A long name is shown shortened, and found by any part of it.
      const text = `${row.cells[0].dataset.value} ${row.textContent}`.toLowerCase();
      row.hidden = !(kept.has(row.dataset.outcome) && words.every((word) => text.includes(word)));
      const card = cardOf(row);
      if (card) card.hidden = row.hidden;
      shown += !row.hidden;
    }
    scans.querySelector("[data-shown]").textContent =
      shown === rows.length ? "" : `${shown} of ${rows.length} shown`;
  };

  for (const scans of all(".scans")) {
    all(".verdicts thead th", scans).forEach((head, column) => {
      const button = make("button", { type: "button", textContent: head.textContent });
      if (!head.hasAttribute("aria-sort")) head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sorted(scans, column));
      head.replaceChildren(button);
    });
    const search = scans.querySelector(".search");
    search.hidden = false;
    search.addEventListener("input", () => filtered(scans));
    all(".outcomes input", scans).forEach((box) => box.addEventListener("change", () => filtered(scans)));
    const lay = () => {
      scans.dataset.map = scans.querySelector(".choice input:checked").value;
      all(".strip", scans).forEach((strip) => strip.draw?.());
    };
    all(".choice input", scans).forEach((choice) => choice.addEventListener("change", lay));
    lay();
    filtered(scans);
    // The bar with the maps stays at the top: a card that is gone to begins below it.
    const bar = scans.querySelector(".maps");
    new ResizeObserver(() => scans.style.setProperty("--bar", `${bar.offsetHeight + 12}px`)).observe(bar);
  }

  // Strips: pictures are made when they come near the window, and given back when they leave it.
  const shown = (strip) => {
    if (strip.draw) return;
    const parsed = new DOMParser().parseFromString(strip.querySelector("noscript").textContent, "text/html");
    const sheet = document.importNode(parsed.querySelector(".sheet"), true);
    const images = all("img", sheet);
    const grey = images[0];
    const [width, height] = strip.dataset.tile.split(" ").map(Number);
    const columns = Number(strip.dataset.columns);
    const said = all(".shown", strip);
    const rows = Math.ceil(said.length / columns);
    const stage = make("div", { className: "stage" });
    const canvas = make("canvas", { width: 2 * width, height: 2 * height });
    const slider = make("input", { type: "range", min: 0, max: said.length - 1, step: 1 });
    const output = make("output", {});
    canvas.setAttribute("role", "img");
    slider.setAttribute("aria-label", `Slice of ${strip.dataset.name}`);
    slider.value = strip.dataset.at ?? strip.dataset.first;
    stage.append(canvas, slider, output);
    const tiles = said.map((one, k) => {
      const tile = make("div", { className: "tile" });
      tile.classList.toggle("decided", "decided" in one.dataset);
      tile.style.left = `${(100 * (k % columns)) / columns}%`;
      tile.style.top = `${(100 * Math.floor(k / columns)) / rows}%`;
      tile.style.width = `${100 / columns}%`;
      tile.style.height = `${100 / rows}%`;
      return tile;
    });
    sheet.append(...tiles);
    sheet.classList.add("picked");

    const draw = () => {
      const at = Number(slider.value);
      strip.dataset.at = at;
      tiles.forEach((tile, k) => tile.classList.toggle("now", k === at));
      output.textContent = said[at].dataset.said;
      slider.setAttribute("aria-valuetext", said[at].dataset.said);
      canvas.setAttribute("aria-label", `${strip.dataset.name}, ${said[at].dataset.said}`);
      const pen = canvas.getContext("2d");
      pen.imageSmoothingQuality = "high";
      pen.clearRect(0, 0, canvas.width, canvas.height);
      for (const image of images) {
        if (!image.complete || !image.naturalWidth) continue;
        if (image !== grey && getComputedStyle(image).visibility !== "visible") continue;
        const [w, h] = [image.naturalWidth / columns, image.naturalHeight / rows];
        pen.drawImage(image, (at % columns) * w, Math.floor(at / columns) * h, w, h, 0, 0, canvas.width, canvas.height);
      }
    };
    const go = (to) => {
      slider.value = Math.max(0, Math.min(said.length - 1, to));
      draw();
    };
    slider.addEventListener("input", draw);
    images.forEach((image) => image.addEventListener("load", draw));
    sheet.addEventListener("click", (event) => {
      const box = sheet.getBoundingClientRect();
      const column = Math.floor((columns * (event.clientX - box.left)) / box.width);
      const row = Math.floor((rows * (event.clientY - box.top)) / box.height);
      if (row * columns + column < said.length) go(row * columns + column);
    });
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      from = { x: event.clientX, at: Number(slider.value) };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (from) go(from.at + Math.round(((event.clientX - from.x) / canvas.clientWidth) * said.length));
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
    strip.prepend(stage, sheet);
    strip.draw = draw;
    draw();
  };

  const gone = (strip) => {
    // Its height is kept, so that nothing jumps; a strip that is worked with stays.
    if (!strip.draw || strip.contains(document.activeElement)) return;
    strip.style.minHeight = `${strip.offsetHeight}px`;
    strip.querySelector(".stage").remove();
    strip.querySelector(".sheet").remove();
    strip.draw = null;
  };

  // One strip a frame: several at once would be felt while scrolling.
  const waiting = new Set();
  const next = () => {
    const [strip] = waiting;
    if (!strip) return;
    waiting.delete(strip);
    shown(strip);
    requestAnimationFrame(next);
  };
  let printing = false;
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const strip = target.querySelector(".strip");
      if (isIntersecting) waiting.add(strip);
      else if (!printing) { waiting.delete(strip); gone(strip); }
    }
    requestAnimationFrame(next);
  }, { rootMargin: "600px 0px" });
  const strips = all(".scan .strip");
  strips.forEach((strip) => near.observe(strip.closest(".scan")));
  // Those that are in sight from the first stand there when the page is loaded.
  for (const strip of strips) {
    if (strip.getBoundingClientRect().top > innerHeight) break;
    shown(strip);
  }
  addEventListener("beforeprint", () => { printing = true; strips.forEach(shown); });
  addEventListener("afterprint", () => { printing = false; });

  // Charts: what a point says, for a mouse, a finger or the arrow keys.
  for (const chart of all("[data-chart]")) {
    const plot = chart.querySelector(".plot");
    const drawing = plot.querySelector("svg");
    const curves = all("g[data-points]", plot).map((group) => ({
      group, name: group.dataset.name, points: JSON.parse(group.dataset.points),
    })).filter((curve) => curve.points.length);
    if (!curves.length) continue;
    const dot = svg("circle");
    dot.setAttribute("class", "pointed");
    dot.setAttribute("r", "5.5");
    const tip = make("div", { className: "tip", hidden: true });
    const told = make("div", { className: "hidden" });
    told.setAttribute("aria-live", "polite");
    plot.append(tip, told);
    plot.tabIndex = 0;
    plot.setAttribute("role", "group");
    plot.setAttribute("aria-label", `${chart.getAttribute("aria-label")}: arrow keys go along the points, up and down to another line`);
    let [line, at] = [0, -1];

    const point = (aloud) => {
      const curve = curves[line];
      const [x, y, said] = curve.points[at];
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", y);
      curve.group.append(dot);
      plot.classList.add("pointing");
      curves.forEach(({ group }) => group.classList.toggle("on", group === curve.group));
      tip.textContent = `${curve.name}: ${said}`;
      if (aloud) told.textContent = tip.textContent;
      tip.hidden = false;
      const scale = drawing.clientWidth / drawing.viewBox.baseVal.width;
      const left = Math.min(x * scale + 12, plot.clientWidth - tip.offsetWidth);
      tip.style.left = `${Math.max(0, left)}px`;
      tip.style.top = `${y * scale - tip.offsetHeight - 12 < 0 ? y * scale + 14 : y * scale - tip.offsetHeight - 12}px`;
    };
    const leave = () => {
      tip.hidden = true;
      plot.classList.remove("pointing");
      dot.remove();
      curves.forEach(({ group }) => group.classList.remove("on"));
    };

    const nearest = (event) => {
      const box = drawing.getBoundingClientRect();
      const scale = drawing.viewBox.baseVal.width / box.width;
      const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      let least = Infinity;
      curves.forEach((curve, k) => curve.points.forEach(([px, py], n) => {
        const distance = (px - x) ** 2 + (py - y) ** 2;
        if (distance < least) [least, line, at] = [distance, k, n];
      }));
      point(false);
    };
    plot.addEventListener("pointermove", nearest);
    plot.addEventListener("pointerdown", nearest);
    // A finger that is lifted leaves too; what it asked for stays until it asks elsewhere.
    plot.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") leave(); });
    document.addEventListener("pointerdown", (event) => { if (!plot.contains(event.target)) leave(); });
    plot.addEventListener("blur", leave);
    plot.addEventListener("keydown", (event) => {
      const last = () => curves[line].points.length - 1;
      if (event.key === "ArrowRight") at = Math.min(at + 1, last());
      else if (event.key === "ArrowLeft") at = Math.max(at - 1, 0);
      else if (event.key === "Home") at = 0;
      else if (event.key === "End") at = last();
      else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
        line = (line + (event.key === "ArrowDown" ? 1 : curves.length - 1)) % curves.length;
        at = Math.max(0, Math.min(at, last()));
      } else if (event.key === "Escape") { leave(); return; }
      else return;
      event.preventDefault();
      point(true);
    });
  }
})();
