// What the pages share beside elements.js: their data, lists drawn as far as they are looked at, a window of videos.
"use strict"
const DATA = JSON.parse(document.getElementById("data").textContent)
const STEP = 100 // rows of a list that are drawn at once

const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`

function button(style, act, ...content) {
  const element = make("button", style, ...content)
  element.type = "button"
  element.addEventListener("click", act)
  return element
}

/** Rows in a box that scrolls. The arrow keys go from a row that is a button to the next. */
class List {
  constructor(box, draw) {
    this.box = box
    this.draw = draw
    this.end = make("div", "end")
    const seen = entries => entries.some(entry => entry.isIntersecting) && this.more()
    new IntersectionObserver(seen, { root: box, rootMargin: "400px" }).observe(this.end)
    box.addEventListener("keydown", event => this.go(event))
    box.addEventListener("focusin", event => this.choose(event.target))
  }

  show(rows, none = "Nothing fits.") {
    this.rows = rows
    this.drawn = 0
    this.box.replaceChildren(this.end)
    this.box.scrollTop = 0
    if (rows.length) this.more()
    else this.end.before(make("div", "none", none))
    const first = this.box.querySelector("button")
    this.box.tabIndex = first ? -1 : 0
    if (first) first.tabIndex = 0
  }

  more() {
    const rows = this.rows.slice(this.drawn, this.drawn + STEP).map(this.draw)
    for (const row of rows) if (row.tagName === "BUTTON") row.tabIndex = -1
    this.drawn += rows.length
    this.end.before(...rows)
  }

  choose(row) {
    if (row.parentNode !== this.box) return
    for (const other of this.box.querySelectorAll("button[tabindex='0']")) other.tabIndex = -1
    row.tabIndex = 0
  }

  go(event) {
    const row = document.activeElement
    const way = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key]
    if (!way || row.parentNode !== this.box) return
    event.preventDefault()
    if (row[way] === this.end) this.more()
    if (row[way] && row[way] !== this.end) row[way].focus()
  }
}

/** A list with a box for words that a row must have, and the number of rows that have them. */
class FilteredList {
  constructor(place, draw, text) {
    this.list = new List(place.querySelector(".list"), draw)
    this.box = place.querySelector("input[type=search]")
    this.count = place.querySelector("[role=status]")
    this.text = text
    this.box.addEventListener("input", () => this.filter())
  }

  show(rows, noun, none) {
    this.rows = rows
    this.noun = noun
    this.none = none
    this.filter()
  }

  filter() {
    const words = this.box.value.toLowerCase().split(/\s+/)
    const rows = this.rows.filter(row => {
      const text = this.text(row).toLowerCase()
      return words.every(word => text.includes(word))
    })
    this.list.show(rows, this.rows.length ? undefined : this.none)
    const all = counted(this.rows.length, this.noun)
    this.count.textContent = rows.length < this.rows.length ? `${number(rows.length)} of ${all}` : all
  }
}

const id = video => DATA.prefix + DATA.ids[video]

/** A video's name, which leads to its file where the page knows the place. */
function linked(video) {
  if (typeof DATA.base !== "string") return named(id(video))
  const link = make("a", "", named(id(video)))
  link.href = DATA.base + id(video).split("/").map(encodeURIComponent).join("/")
  return link
}

/** The window that lists videos, by their places in the data. `detail` says of each what is to know. */
class Window {
  constructor(detail) {
    this.dialog = find("dialog")
    const draw = video => make("div", "", linked(video), make("small", "", ...detail(video)))
    this.list = new FilteredList(this.dialog, draw, id)
    this.dialog.addEventListener("click", event => event.target === this.dialog && this.dialog.close())
  }

  open(videos, ...title) {
    this.dialog.querySelector("h2").replaceChildren(...title)
    this.list.box.value = ""
    this.dialog.showModal()
    this.list.show(videos, "video", "No videos.")
  }
}
