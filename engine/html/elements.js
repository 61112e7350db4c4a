// What all pages share, also those of the server: elements, names and numbers.
"use strict"
const find = selector => document.querySelector(selector)
const percent = share => (100 * share).toFixed(1) + "%"
const number = count => count.toLocaleString("en-US")
const collator = new Intl.Collator(undefined, { numeric: true })

/** An element with a class and content; text is never taken for markup. */
function make(tag, style, ...content) {
  const element = document.createElement(tag)
  if (style) element.className = style
  element.append(...content)
  return element
}

/** A name from a file, which may run from right to left. */
function named(text, style) {
  const element = make("bdi", style, text)
  element.dir = "auto"
  return element
}
