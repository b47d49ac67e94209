"use strict";
// Everything a model or dataset wrote reaches the page through textContent, never as markup.
const PALETTE = 8;
const MISSING = "–";

const make = (tag, options = {}, ...children) => {
  const { text, on, ...attributes } = options;
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  if (text !== undefined) node.textContent = text;
  for (const [event, handler] of Object.entries(on || {})) node.addEventListener(event, handler);
  node.append(...children.filter((child) => child !== null));
  return node;
};
const swatch = (i) => make("i", { class: `swatch v${i % PALETTE}` });

// Numbers
const number = (value) => {
  if (value === null || value === undefined) return MISSING;
  const size = Math.abs(value);
  if (size >= 1e7 || (size > 0 && size < 5e-4)) return value.toPrecision(3);
  const digits = size >= 2 && Number.isInteger(value) ? 0 : size < 10 ? 3 : size < 100 ? 2 : size < 1000 ? 1 : 0;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
};
const seconds = (value) => (value < 1 ? `${(value * 1000).toFixed(value < 0.1 ? 1 : 0)} ms` : `${value.toFixed(2)} s`);
const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
