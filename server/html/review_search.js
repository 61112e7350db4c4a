// The review of predictions: a class is found by a part of its name.
"use strict"
const NAMES = 50 // classes that are listed at once

let fitting = [], chosen = 0

function closeNames() {
  find("#names").hidden = true
  find("#search").setAttribute("aria-expanded", "false")
  find("#search").removeAttribute("aria-activedescendant")
}

function showNames() {
  const text = find("#search").value.trim().toLowerCase(), words = text.split(/\s+/)
  const rank = index => !nameOf(index).toLowerCase().startsWith(text)
  fitting = Object.keys(DATA.names).map(Number).filter(index => words.every(word => nameOf(index).toLowerCase().includes(word)))
  fitting.sort((a, b) => rank(a) - rank(b) || collator.compare(nameOf(a), nameOf(b)))
  fitting.length = Math.min(fitting.length, NAMES)
  const rows = fitting.map((index, row) => {
    const option = make("div", "", named(nameOf(index)))
    option.id = `name_${row}`
    option.setAttribute("role", "option")
    option.addEventListener("mousedown", event => event.preventDefault())
    option.addEventListener("click", () => choose(index))
    return option
  })
  find("#names").replaceChildren(...(rows.length ? rows : [make("div", "soft", "There is no such class.")]))
  find("#names").hidden = false
  find("#search").setAttribute("aria-expanded", "true")
  mark(0)
}

function mark(row) {
  const options = find("#names").querySelectorAll("[role=option]")
  if (!options.length) return find("#search").removeAttribute("aria-activedescendant")
  chosen = (row + options.length) % options.length
  options.forEach((option, each) => option.setAttribute("aria-selected", each === chosen))
  options[chosen].scrollIntoView({ block: "nearest" })
  find("#search").setAttribute("aria-activedescendant", options[chosen].id)
}

function searchKey(event) {
  event.stopPropagation()
  const act = {
    ArrowDown: () => find("#names").hidden ? showNames() : mark(chosen + 1),
    ArrowUp: () => mark(chosen - 1),
    Enter: () => !find("#names").hidden && fitting.length && choose(fitting[chosen]),
    Escape: () => {
      find("#search").value = ""
      closeNames()
      find("#name").focus()
    },
  }[event.key]
  if (!act || event.isComposing) return
  event.preventDefault()
  act()
}
