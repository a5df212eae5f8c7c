"use strict";
// The audit page: bins in a list that draws only what is seen, walked and marked by keyboard, marks kept in this browser.
(() => {
  const ROW = 52;
  const byId = (id) => document.getElementById(id);
  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const percent = (share) => (share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0) + "%";

  const facts = JSON.parse(byId("facts").textContent);
  const bins = [];
  for (const chunk of document.querySelectorAll("script.bins")) {
    for (const [id, recorded, likely, ofRecorded, ofLikely, wrong, expected, shares, skus] of JSON.parse(chunk.textContent)) {
      bins.push({ id, recorded, likely, ofRecorded, ofLikely, wrong, expected, shares, skus, at: bins.length });
    }
  }
  const photoChunks = [...document.querySelectorAll("script.photos")];
  const openedChunks = new Map();
  const photoOf = (bin) => {
    const number = Math.floor(bin.at / facts.photosAChunk);
    if (!openedChunks.has(number)) {
      if (openedChunks.size > 8) openedChunks.clear();
      // One photo a line between the first and the last line break; a line is empty where there is no photo.
      openedChunks.set(number, photoChunks[number].textContent.split("\n").slice(1, -1));
    }
    return openedChunks.get(number)[bin.at % facts.photosAChunk];
  };

  // Marks: image id -> {verdict: "right" | "wrong", count: number | null}.
  const storageKey = "binventory-audit:" + facts.audit;
  let marks = new Map();
  try {
    marks = new Map(JSON.parse(localStorage.getItem(storageKey) || "[]"));
  } catch {
    byId("kept").hidden = false;
  }
  const keep = () => {
    try {
      localStorage.setItem(storageKey, JSON.stringify([...marks]));
    } catch {
      byId("kept").hidden = false;
    }
  };

  let view = bins;
  let current = 0;
  const list = byId("list");
  const rows = byId("rows");
  const SYMBOL = { right: "✔", wrong: "✘" };

  const drawRow = (bin, index) => {
    const row = element("div", undefined, "row");
    const mark = marks.get(bin.id);
    row.id = "row-" + index;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(index === current));
    row.style.top = index * ROW + "px";
    row.append(
      element("span", String(bin.at + 1), "rank"),
      element("span", bin.id, "id"),
      element("span", "record " + bin.recorded + ", photo " + bin.likely, "counts"),
      element("span", mark ? SYMBOL[mark.verdict] + (mark.count === null ? "" : " " + mark.count) : bin.wrong === null ? "" : percent(bin.wrong), "state"),
    );
    row.addEventListener("click", () => show(index));
    return row;
  };

  const drawList = () => {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
    const last = Math.min(view.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 5);
    rows.replaceChildren();
    for (let index = first; index < last; index++) rows.append(drawRow(view[index], index));
    rows.style.height = view.length * ROW + "px";
  };

  const drawShares = (bin) => {
    const shares = byId("shares");
    shares.replaceChildren();
    facts.classes.forEach((count, column) => {
      const share = bin.shares[column];
      const line = element("div", undefined, "share" + (count === bin.recorded ? " recorded" : ""));
      const bar = element("span", undefined, "bar");
      const fill = element("span", undefined, "fill");
      fill.style.width = (share * 100).toFixed(1) + "%";
      bar.append(fill);
      const notes = [count === bin.recorded && "record", count === bin.likely && "photo"].filter(Boolean).join(", ");
      line.append(element("b", String(count)), bar, element("span", percent(share), "value"), element("span", notes, "note"));
      shares.append(line);
    });
  };

  const drawDetail = () => {
    const bin = view[current];
    byId("detail").hidden = !bin;
    byId("empty").hidden = Boolean(bin);
    if (!bin) return;
    const image = byId("photo");
    const data = photoOf(bin);
    image.hidden = !data;
    byId("no-photo").hidden = Boolean(data);
    if (data) image.src = "data:image/webp;base64," + data;
    image.alt = "Photo of bin " + bin.id;
    byId("title").textContent = "Bin " + bin.id;
    byId("recorded").textContent = bin.recorded;
    byId("likely").textContent = bin.likely + " (" + percent(bin.ofLikely) + ")";
    byId("of-recorded").textContent = percent(bin.ofRecorded);
    byId("wrong").textContent = bin.wrong === null ? "not judged" : percent(bin.wrong);
    byId("expected").textContent = bin.expected.toFixed(2);
    drawShares(bin);
    const skus = byId("skus");
    skus.replaceChildren();
    for (const [sku, name, quantity] of bin.skus) {
      const line = element("li");
      line.append(element("b", quantity + " × "), element("span", name || sku), element("small", " " + sku));
      skus.append(line);
    }
    if (!bin.skus.length) skus.append(element("li", "The record names no SKU."));
    const mark = marks.get(bin.id);
    byId("mark").textContent = !mark
      ? "Not checked yet."
      : mark.verdict === "right"
        ? "Marked right."
        : mark.count === null
          ? "Marked wrong, count not known."
          : "Marked wrong: you counted " + mark.count + ".";
  };

  const drawProgress = () => {
    const verdicts = bins.map((bin) => marks.get(bin.id)?.verdict).filter(Boolean);
    const wrong = verdicts.filter((verdict) => verdict === "wrong").length;
    byId("progress").textContent =
      verdicts.length + " of " + bins.length + " checked: " + wrong + " wrong, " + (verdicts.length - wrong) + " right";
    byId("download").disabled = byId("download-marks").disabled = !verdicts.length;
  };

  const show = (index) => {
    if (!view.length) {
      drawList();
      drawDetail();
      return;
    }
    current = Math.max(0, Math.min(view.length - 1, index));
    const top = current * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    drawList();
    list.setAttribute("aria-activedescendant", "row-" + current);
    drawDetail();
  };

  const mark = (verdict, count) => {
    const bin = view[current];
    if (!bin) return;
    marks.set(bin.id, { verdict, count });
    keep();
    drawProgress();
    show(current + 1);
  };
  const counted = (count) => {
    const bin = view[current];
    if (bin) mark(count === bin.recorded ? "right" : "wrong", count);
  };
  const unmark = () => {
    const bin = view[current];
    if (!bin) return;
    marks.delete(bin.id);
    keep();
    drawProgress();
    show(current);
  };
  const right = () => view[current] && mark("right", view[current].recorded);
  const wrong = () => mark("wrong", null);
  const nextUnchecked = () => {
    for (let step = 1; step <= view.length; step++) {
      const index = (current + step) % view.length;
      if (!marks.has(view[index].id)) return show(index);
    }
  };

  const save = (name, lines) => {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const marked = () => bins.filter((bin) => marks.has(bin.id)).map((bin) => [bin, marks.get(bin.id)]);
  const downloadLabels = () => {
    const known = marked().filter(([, found]) => found.count !== null);
    save("labels.csv", ["image_id,count,label_source", ...known.map(([bin, found]) => [bin.id, found.count, "audit"].join(","))]);
  };
  const downloadMarks = () =>
    save("marks.csv", [
      "image_id,recorded,verdict,counted",
      ...marked().map(([bin, found]) => [bin.id, bin.recorded, found.verdict, found.count ?? ""].join(",")),
    ]);

  const filter = () => {
    const wanted = byId("filter").value;
    const text = byId("search").value.trim().toLowerCase();
    view = bins.filter((bin) => {
      const verdict = marks.get(bin.id)?.verdict;
      if (wanted === "unchecked" ? verdict : wanted !== "all" && verdict !== wanted) return false;
      return !text || bin.id.toLowerCase().includes(text) || bin.skus.some((sku) => (sku[0] + " " + sku[1]).toLowerCase().includes(text));
    });
    current = 0;
    list.scrollTop = 0;
    show(0);
  };

  const KEYS = {
    ArrowDown: () => show(current + 1),
    j: () => show(current + 1),
    ArrowUp: () => show(current - 1),
    k: () => show(current - 1),
    PageDown: () => show(current + 10),
    PageUp: () => show(current - 10),
    Home: () => show(0),
    End: () => show(view.length - 1),
    n: nextUnchecked,
    r: right,
    w: wrong,
    u: unmark,
    d: () => byId("download").disabled || downloadLabels(),
    "/": () => byId("search").focus(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.closest("input, select, textarea");
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    const act = /^[0-9]$/.test(event.key) ? () => counted(Number(event.key)) : KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  byId("right").addEventListener("click", right);
  byId("wrong-button").addEventListener("click", wrong);
  byId("unmark").addEventListener("click", unmark);
  byId("previous").addEventListener("click", () => show(current - 1));
  byId("next").addEventListener("click", () => show(current + 1));
  byId("download").addEventListener("click", downloadLabels);
  byId("download-marks").addEventListener("click", downloadMarks);
  byId("filter").addEventListener("change", filter);
  byId("search").addEventListener("input", filter);
  for (const button of document.querySelectorAll("button.sku")) {
    button.addEventListener("click", () => {
      byId("filter").value = "all";
      byId("search").value = button.dataset.sku;
      filter();
      byId("list").scrollIntoView();
      byId("list").focus({ preventScroll: true });
    });
  }
  byId("count-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = byId("count-field");
    if (!/^[0-9]{1,6}$/.test(field.value)) return;
    counted(Number(field.value));
    field.value = "";
  });
  list.addEventListener("scroll", drawList, { passive: true });
  window.addEventListener("resize", drawList);

  drawProgress();
  show(0);
  document.documentElement.dataset.ready = "true";
})();
