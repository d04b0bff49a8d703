"use strict";
// A token that is pointed at shows its numbers and what it looked at; a click keeps it. All text is set as text.
document.documentElement.classList.add("scripted");

function element(parent, tag, name, text) {
  const made = parent.appendChild(document.createElement(tag));
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function watch(article) {
  const data = JSON.parse(article.querySelector("script").textContent);
  const aside = article.querySelector("aside");
  const chips = [...article.querySelectorAll(".chip")]; // by place: the start, the prompt, the completion
  const rows = [...article.querySelectorAll("tbody tr")];
  const before = chips.length - rows.length; // the start and the prompt
  const bytes = Uint8Array.from(atob(data.attention), (letter) => letter.charCodeAt(0));
  const weights = new Uint16Array(bytes.buffer);
  const whole = rows.length * before + (rows.length * (rows.length - 1)) / 2; // of one layer
  let kept = null;
  let layer = -1; // the mean of all

  function seen(which, token) {
    const first = which * whole + token * before + (token * (token - 1)) / 2;
    return Array.from(weights.subarray(first, first + before + token), (weight) => weight / 65535);
  }

  function mean(token) {
    const total = new Array(before + token).fill(0);
    for (let i = 0; i < data.layers; i++) seen(i, token).forEach((weight, place) => (total[place] += weight / data.layers));
    return total;
  }

  function mark(token) {
    article.querySelector(".text").classList.toggle("watching", token !== null && data.layers > 0);
    const found = token === null || !data.layers ? [] : layer < 0 ? mean(token) : seen(layer, token);
    const most = Math.max(...found); // the strongest mark: in a long text all weights are small
    chips.forEach((chip, place) => {
      chip.classList.toggle("on", place === before + token && token !== null);
      if (place < found.length) {
        chip.dataset.seen = "";
        chip.style.setProperty("--seen", (found[place] / most).toFixed(3));
      } else delete chip.dataset.seen;
    });
    rows.forEach((row, place) => row.classList.toggle("on", place === token));
  }

  function strip(name, found) {
    const line = element(aside, "div", "layer");
    element(line, "span", "", name);
    const cells = element(line, "div", "strip");
    const greatest = Math.max(...found);
    found.forEach((weight, place) => {
      const cell = element(cells, "i");
      cell.style.setProperty("--seen", (weight / greatest).toFixed(3));
      cell.title = `${chips[place].textContent} ${weight.toFixed(3)}`;
    });
    const most = found.map((weight, place) => [weight, place]).sort((a, b) => b[0] - a[0]).slice(0, 3);
    element(line, "p", "", most.map(([weight, place]) => `${chips[place].textContent} ${weight.toFixed(2)}`).join("   "));
  }

  function attention(token) {
    if (!data.layers) return;
    const title = element(aside, "h3", "", "looked at, marked in the text by ");
    const select = element(title, "select");
    ["the mean of layers", ...Array.from({ length: data.layers }, (_, i) => `layer ${i + 1}`)].forEach((name, i) => {
      element(select, "option", "", name).value = i - 1;
    });
    select.value = layer;
    select.addEventListener("change", () => {
      layer = Number(select.value);
      mark(token);
    });
    for (let i = 0; i < data.layers; i++) strip(`layer ${i + 1}`, seen(i, token));
  }

  function show(token) {
    mark(token);
    aside.replaceChildren();
    const cells = [...rows[token].cells];
    const title = element(aside, "h2", "", cells[1].textContent);
    element(title, "small", "", `token ${token + 1} of ${rows.length}`);
    const list = element(aside, "dl");
    data.titles.forEach((name, i) => {
      element(list, "dt", "", name);
      element(list, "dd", "", cells[2 + i].textContent || "none");
    });
    element(aside, "h3", "", article.querySelector("thead tr").cells[2 + data.titles.length].textContent);
    [...rows[token].querySelectorAll(".choices span")].forEach((said, i) => {
      const choice = element(aside, "div", "choice");
      choice.style.setProperty("--bar", data.bars[token][i]);
      element(choice, "span", "", said.querySelector("b").textContent);
      element(choice, "span", "", said.lastChild.textContent.trim());
    });
    attention(token);
  }

  [...chips.slice(before), ...rows].forEach((target) => {
    const token = Number(target.dataset.token);
    target.addEventListener("mouseenter", () => kept === null && show(token));
    target.addEventListener("focus", () => kept === null && show(token));
    target.addEventListener("click", (event) => {
      event.preventDefault();
      kept = kept === token ? null : token;
      show(token);
    });
  });
  show(0);
}

document.querySelectorAll("article").forEach(watch);
