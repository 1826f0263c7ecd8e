"use strict";
// Draws the curves of a run: one plot for each family of metrics, all over the step, or the epoch. The data are in #curves-data.
(() => {
  const source = document.getElementById("curves-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const options = window.pageOptions;
  const HEIGHT = 224, TOP = 10, RIGHT = 12, BOTTOM = 40, LEFT = 56; // of all plots, so that their steps align
  const NON_FINITE = { nan: NaN, inf: Infinity, "-inf": -Infinity };
  const decode = (values) => values.map((v) => (typeof v === "string" ? NON_FINITE[v] : v));
  const svg = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const html = (name, className, text) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const colour = (series) => `var(--c${series.colour})`;

  // Numbers
  const show = (v) => {
    if (Number.isNaN(v)) return "NaN";
    if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
    if (v === 0) return "0";
    const size = Math.abs(v);
    const text = size >= 1e6 || size < 1e-3 ? v.toExponential(3).replace(/\.?0*e\+?/, "e") : String(+v.toPrecision(4));
    return text.replaceAll("-", "−");
  };
  const tick = (v) => {
    const size = Math.abs(v);
    if (v === 0) return "0";
    for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (size >= unit && size < 1e13) return `${+(v / unit).toPrecision(4)} ${name}`.replace("-", "−");
    }
    return (size < 1e-4 || size >= 1e13 ? v.toExponential(2).replace(/\.?0*e\+?/, "e") : String(+v.toPrecision(5)))
      .replaceAll("-", "−");
  };

  // TensorBoard's exponential moving average, without its bias towards zero; what is not finite passes by.
  const smooth = (values, weight) => {
    let last = 0, seen = 0;
    return values.map((v) => {
      if (!Number.isFinite(v)) return v;
      last = last * weight + (1 - weight) * v;
      seen += 1;
      return last / (weight === 1 ? 1 : 1 - weight ** seen);
    });
  };

  // Axes
  const linearTicks = (low, high, wanted) => {
    const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * ([1, 2, 5].find((m) => m * power >= 0.7 * rough) ?? 10);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) found.push(+(i * step).toPrecision(12));
    return found;
  };
  const logTicks = (low, high) => {
    const from = Math.floor(low), to = Math.ceil(high);
    const every = Math.max(1, Math.ceil((to - from) / 6));
    const found = [];
    for (let e = from; e <= to; e += every) {
      for (const m of to - from <= 2 ? [1, 2, 5] : [1]) found.push(Math.log10(m) + e);
    }
    return found.filter((e) => e >= low - 1e-9 && e <= high + 1e-9);
  };
  const span = (values) => {
    let low = Infinity, high = -Infinity;
    for (const v of values) if (Number.isFinite(v)) { low = Math.min(low, v); high = Math.max(high, v); }
    return low > high ? null : [low, high];
  };
  const widened = ([low, high]) => {
    const pad = high > low ? (high - low) * 0.05 : Math.abs(low) * 0.1 || 1;
    return [low - pad, high + pad];
  };

  const plots = data.plots.map((plot, i) => ({
    title: plot.title,
    unit: plot.unit,
    series: plot.series.map((s) => ({ ...s, y: decode(s.y), low: s.low && decode(s.low), high: s.high && decode(s.high), shown: true })),
    figure: document.querySelector(`[data-plot="${i}"]`),
    log: false,
  }));
  const everyX = plots.flatMap((plot) => plot.series.flatMap((s) => [s.x[0], s.x.at(-1)]));
  if (data.selected !== null) everyX.push(data.selected);
  let [first, last] = [Math.min(...everyX), Math.max(...everyX)];
  if (first === last) { first -= 1; last += 1; }
  let weight = 0, byEpoch = false;
  const unit = () => (byEpoch ? data.epochs_per_step : 1); // of the x axis, in steps

  const scales = (plot, width) => {
    const transform = plot.log ? (v) => (v > 0 ? Math.log10(v) : NaN) : (v) => v;
    const values = plot.series.filter((s) => s.shown).flatMap((s) => [...s.y, ...(s.low ?? []), ...(s.high ?? [])]);
    const range = span(values.map(transform));
    if (!range) return null;
    const [low, high] = widened(range);
    const ticks = plot.log ? logTicks(low, high) : linearTicks(low, high, 5);
    const labels = ticks.map((t) => tick(plot.log ? 10 ** t : t));
    const bottom = HEIGHT - BOTTOM;
    const left = LEFT;
    return {
      left, bottom, ticks, labels,
      x: (step) => left + ((step - first) / (last - first)) * (width - left - RIGHT),
      step: (x) => first + ((x - left) / (width - left - RIGHT)) * (last - first),
      y: (v) => bottom - ((transform(v) - low) / (high - low)) * (bottom - TOP),
      place: (t) => bottom - ((t - low) / (high - low)) * (bottom - TOP),
    };
  };
  const line = (series, values, scale) => {
    let path = "", pen = "M";
    values.forEach((v, i) => {
      const y = scale.y(v);
      if (!Number.isFinite(y)) { pen = "M"; return; }
      path += `${pen}${scale.x(series.x[i]).toFixed(1)} ${y.toFixed(1)}`;
      pen = "L";
    });
    return path;
  };
  const band = (series, scale) => {
    const ends = series.x.map((step, i) => [step, scale.y(series.low[i]), scale.y(series.high[i])])
      .filter(([, low, high]) => Number.isFinite(low) && Number.isFinite(high));
    const up = ends.map(([step, , high]) => `${scale.x(step).toFixed(1)} ${high.toFixed(1)}`);
    const down = ends.toReversed().map(([step, low]) => `${scale.x(step).toFixed(1)} ${low.toFixed(1)}`);
    return up.length > 1 ? `M${[...up, ...down].join("L")}Z` : "";
  };

  const drawAxes = (plot, scale, width) => {
    scale.ticks.forEach((t, i) => {
      const y = scale.place(t);
      plot.svg.append(svg("line", { class: "grid", x1: scale.left, x2: width - RIGHT, y1: y, y2: y }));
      plot.svg.append(svg("text", { x: scale.left - 6, y: y + 3.5, "text-anchor": "end" }, scale.labels[i]));
    });
    for (const at of linearTicks(first * unit(), last * unit(), Math.max(2, Math.floor(width / 75)))) {
      if (!byEpoch && !Number.isInteger(at)) continue;
      const x = scale.x(at / unit());
      const half = 3.4 * tick(at).length;
      plot.svg.append(svg("text", { x: Math.min(x, width - half), y: HEIGHT - 23, "text-anchor": "middle" }, tick(at)));
    }
    const middle = (scale.left + width - RIGHT) / 2;
    plot.svg.append(svg("text", { class: "axis", x: middle, y: HEIGHT - 7, "text-anchor": "middle" }, byEpoch ? "epoch" : "step"));
    plot.svg.append(svg("line", { class: "grid", x1: scale.left, x2: width - RIGHT, y1: scale.bottom, y2: scale.bottom }));
  };
  const drawSeries = (plot, series, scale) => {
    const style = `stroke:${colour(series)}`;
    const smoothed = weight > 0 ? smooth(series.y, weight) : series.y;
    if (series.low) plot.svg.append(svg("path", { class: "band", d: band(series, scale), style: `fill:${colour(series)}` }));
    if (weight > 0) plot.svg.append(svg("path", { class: "curve raw", d: line(series, series.y, scale), style }));
    plot.svg.append(svg("path", { class: "curve", d: line(series, smoothed, scale), style }));
    series.y.forEach((v, i) => {
      const x = scale.x(series.x[i]);
      if (!Number.isFinite(v)) { // a cross at the edge: the value is nowhere on the axis
        const y = v === -Infinity ? scale.bottom - 5 : TOP;
        plot.svg.append(svg("path", { class: "curve nonfinite", d: `M${x - 3} ${y - 3}l6 6m0 -6l-6 6`, style }));
      } else if (series.x.length <= 40 && Number.isFinite(scale.y(v))) {
        const opacity = weight > 0 ? 0.35 : 1;
        plot.svg.append(svg("circle", { cx: x, cy: scale.y(v), r: 2, style: `fill:${colour(series)};opacity:${opacity}` }));
      }
    });
  };
  const draw = (plot) => {
    const width = Math.max(plot.figure.clientWidth, 200);
    plot.svg.replaceChildren();
    plot.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    plot.svg.setAttribute("height", HEIGHT);
    const scale = scales(plot, width);
    plot.scale = scale;
    if (!scale) {
      const why = plot.series.some((s) => s.shown) ? `no ${plot.log ? "positive" : "finite"} value` : "no curve chosen";
      plot.svg.append(svg("text", { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, why));
      return;
    }
    drawAxes(plot, scale, width);
    if (data.selected !== null) {
      const x = scale.x(data.selected);
      const mark = svg("line", { class: "selected", x1: x, x2: x, y1: TOP - 4, y2: scale.bottom });
      mark.append(svg("title", {}, `selected step ${data.selected}`));
      plot.svg.append(mark);
    }
    for (const series of plot.series) if (series.shown) drawSeries(plot, series, scale);
    plot.cross = svg("line", { class: "cross", y1: TOP, y2: scale.bottom, visibility: "hidden" });
    plot.svg.append(plot.cross);
  };
  const drawAll = () => plots.forEach(draw);

  // Pointing: a line through all plots, the values in the one that is pointed at
  const nearest = (xs, step) => {
    let low = 0, high = xs.length - 1;
    while (high - low > 1) { const middle = (low + high) >> 1; if (xs[middle] <= step) low = middle; else high = middle; }
    return Math.abs(xs[low] - step) <= Math.abs(xs[high] - step) ? low : high;
  };
  const steps = (plot) => [...new Set(plot.series.filter((s) => s.shown).flatMap((s) => s.x))].sort((a, b) => a - b);
  const rowsOf = (plot, step) => plot.series.filter((s) => s.shown).map((s) => {
    const i = nearest(s.x, step), row = html("div"), swatch = html("i");
    swatch.style.background = colour(s);
    let text = show(s.y[i]);
    if (weight > 0) text = `${show(smooth(s.y, weight)[i])} (${text})`;
    else if (s.low) text += ` [${show(s.low[i])}, ${show(s.high[i])}]`;
    if (plot.unit) text += ` ${plot.unit}`;
    const name = plot.series.length > 1 ? s.name.replace(/\/[^/]*$/, "") : ""; // the last name is the plot's
    row.append(swatch, name + (s.x[i] === step ? "" : ` at ${s.x[i]}`), html("b", "", text));
    return row;
  });
  const point = (plot, step) => {
    for (const each of plots) {
      if (!each.scale) continue;
      const x = each.scale.x(step);
      for (const [name, value] of [["x1", x], ["x2", x], ["visibility", "visible"]]) each.cross.setAttribute(name, value);
    }
    const epoch = data.epochs_per_step ? `, epoch ${(step * data.epochs_per_step).toFixed(2)}` : "";
    plot.tip.replaceChildren(html("div", "", `step ${step.toLocaleString("en")}${epoch}`), ...rowsOf(plot, step));
    plot.tip.hidden = false;
    plot.step = step;
    const x = plot.scale.x(step), width = plot.figure.clientWidth, box = plot.tip.offsetWidth;
    plot.tip.style.left = `${Math.max(0, Math.min(x + 12 + box > width ? x - 12 - box : x + 12, width - box))}px`;
    plot.tip.style.top = `${plot.svg.getBoundingClientRect().top - plot.figure.getBoundingClientRect().top + 14}px`;
  };
  const leave = () => {
    for (const plot of plots) { plot.tip.hidden = true; plot.cross?.setAttribute("visibility", "hidden"); }
  };

  const legend = (plot) => {
    const box = html("div", "legend");
    if (plot.series.length < 2) return box; // the title says its name
    for (const series of plot.series) {
      const button = html("button"), swatch = html("i");
      button.type = "button";
      swatch.style.background = colour(series);
      button.append(swatch, series.name);
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        series.shown = !series.shown;
        button.setAttribute("aria-pressed", String(series.shown));
        draw(plot);
      });
      box.append(button);
    }
    return box;
  };
  const setUp = (plot) => {
    plot.svg = svg("svg", { role: "img", tabindex: 0, "aria-label": `${plot.title} over the step; arrow keys show values` });
    plot.tip = html("div", "tip");
    plot.tip.hidden = true;
    plot.tip.setAttribute("role", "status");
    plot.figure.append(plot.svg, legend(plot), plot.tip);
    const log = plot.figure.querySelector(".log");
    log.addEventListener("click", () => {
      plot.log = !plot.log;
      log.setAttribute("aria-pressed", String(plot.log));
      log.textContent = plot.log ? "linear y" : "log y";
      draw(plot);
    });
    if (options.getAll("log").includes(plot.title)) log.click();
    plot.svg.addEventListener("pointermove", (event) => {
      if (!plot.scale) return;
      const all = steps(plot), x = event.clientX - plot.svg.getBoundingClientRect().left;
      point(plot, all[nearest(all, plot.scale.step(x))]);
    });
    plot.svg.addEventListener("pointerleave", leave);
    plot.svg.addEventListener("blur", leave);
    plot.svg.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move || !plot.scale) return;
      event.preventDefault();
      const all = steps(plot);
      const now = plot.step === undefined ? (move > 0 ? -1 : all.length) : nearest(all, plot.step);
      point(plot, all[Math.max(0, Math.min(all.length - 1, now + move))]);
    });
  };

  plots.forEach(setUp);
  const slider = document.getElementById("smoothing");
  slider.value = options.get("smooth") ?? slider.value;
  const setWeight = () => {
    weight = Number(slider.value);
    document.getElementById("smoothing-value").textContent = String(weight);
    drawAll();
  };
  slider.addEventListener("input", setWeight);
  setWeight();
  const axis = document.getElementById("x-axis");
  const setAxis = (epochs) => {
    byEpoch = epochs;
    axis.textContent = byEpoch ? "x: epoch" : "x: step";
    axis.setAttribute("aria-pressed", String(byEpoch));
    drawAll();
  };
  if (axis) {
    axis.addEventListener("click", () => setAxis(!byEpoch));
    if (options.get("x") === "epoch") setAxis(true);
  }
  let width = document.getElementById("plots").clientWidth;
  new ResizeObserver(() => {
    const now = document.getElementById("plots").clientWidth;
    if (now !== width) { width = now; drawAll(); }
  }).observe(document.getElementById("plots"));
})();
