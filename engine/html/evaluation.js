// The page of an evaluation: bars of the classes, the confusion matrix, and what a threshold of confidence decides.
"use strict"
const classes = DATA.names.length
const pairs = new Map() // label * classes + predicted -> places of the videos, the most confident first
const ordered = DATA.labels.map((_, video) => video).sort((a, b) => DATA.confidence[b] - DATA.confidence[a])
for (const video of ordered) {
  const key = DATA.labels[video] * classes + DATA.predicted[video]
  if (pairs.has(key)) pairs.get(key).push(video)
  else pairs.set(key, [video])
}
const isRight = video => DATA.labels[video] === DATA.predicted[video]
const count = (label, predicted) => (pairs.get(label * classes + predicted) || []).length
const confidence = video => percent(DATA.confidence[video] / DATA.levels)

const videos = new Window(video => {
  const taken = ["taken for ", named(DATA.names[DATA.predicted[video]]), `, ${confidence(video)} confident`]
  if (isRight(video)) return [...taken, ": right"]
  return [...taken, "; it is ", named(DATA.names[DATA.labels[video]]), `, rank ${DATA.ranks[video]}`]
})

// ---- the classes

function classRow(index) {
  const [right, all] = [DATA.right[index], DATA.videos[index]]
  const track = make("span", "track")
  if (all) {
    const fill = track.appendChild(make("span"))
    fill.style.width = percent(right / all)
    const whisker = track.appendChild(make("span", "whisker"))
    whisker.style.left = percent(DATA.low[index])
    whisker.style.width = percent(DATA.high[index] - DATA.low[index])
  }
  const said = make("span", "", all ? percent(right / all) : "", " ", make("small", "", `${right} of ${all}`))
  const row = button("class", () => openClass(index), named(DATA.names[index], "clamp"), track, said)
  row.title = DATA.names[index]
  if (all) row.title += `: 95% interval ${percent(DATA.low[index])} to ${percent(DATA.high[index])}`
  return row
}

function openClass(index) {
  const found = ordered.filter(video => DATA.labels[video] === index)
  found.sort((a, b) => isRight(a) - isRight(b)) // the mistakes first
  videos.open(found, named(DATA.names[index]), `: ${DATA.right[index]} of ${DATA.videos[index]} right`)
}

const share = index => DATA.right[index] / DATA.videos[index]
const seen = (a, b) => !DATA.videos[a] - !DATA.videos[b] // classes without videos come last
const orders = {
  worst: (a, b) => seen(a, b) || share(a) - share(b) || DATA.videos[b] - DATA.videos[a] || a - b,
  best: (a, b) => seen(a, b) || share(b) - share(a) || DATA.videos[b] - DATA.videos[a] || a - b,
  name: (a, b) => collator.compare(DATA.names[a], DATA.names[b]) || a - b,
  most: (a, b) => DATA.videos[b] - DATA.videos[a] || a - b,
  index: (a, b) => a - b,
}
const classList = new FilteredList(find("#classes"), classRow, index => DATA.names[index])
const order = find("#classes select")
const showClasses = () => classList.show(DATA.names.map((_, index) => index).sort(orders[order.value]), "class")
order.addEventListener("change", showClasses)
showClasses()

// ---- the pairs that are confused

const confused = [...pairs.keys()].filter(key => Math.floor(key / classes) !== key % classes)
confused.sort((a, b) => pairs.get(b).length - pairs.get(a).length || a - b)

function pairRow(key) {
  const [label, predicted] = [Math.floor(key / classes), key % classes]
  const names = make("span", "clamp", named(DATA.names[label]), " taken for ", named(DATA.names[predicted]))
  const back = count(predicted, label)
  const small = back ? make("small", "", `and back: ${number(back)}`) : ""
  const said = make("span", "", `${number(count(label, predicted))} of ${number(DATA.videos[label])}`, small)
  const open = () => {
    matrix.move(label, predicted)
    openPair(label, predicted)
  }
  const row = button("many", open, names, said)
  row.title = names.textContent
  return row
}

function openPair(label, predicted) {
  const found = pairs.get(label * classes + predicted)
  if (found) videos.open(found, named(DATA.names[label]), " taken for ", named(DATA.names[predicted]))
}

const pairText = key => `${DATA.names[Math.floor(key / classes)]} ${DATA.names[key % classes]}`
const pairList = new FilteredList(find("#pairs"), pairRow, pairText)
pairList.show(confused, "confused pair", "No video was taken for another class.")

// ---- the matrix

const NAMED = 12 // px of a cell from which on names stand beside the matrix
const FONT = "11px system-ui, sans-serif"
const TITLE = 20 // px beside the matrix without names

class Matrix {
  constructor(box) {
    this.box = box
    this.canvas = box.querySelector("canvas")
    this.frame = box.querySelector("i")
    this.cell = null
    this.reset()
    new ResizeObserver(() => this.draw()).observe(box)
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw())
    this.listen()
  }

  reset() {
    this.zoom = 1
    this.left = this.top = 0 // the cell at the corner
  }

  /** The width of the longest name, px. */
  longest() {
    const paint = this.canvas.getContext("2d")
    paint.font = FONT
    if (!this.name) this.name = 12 + Math.max(...DATA.names.map(name => paint.measureText(name.slice(0, 40)).width))
    return this.name
  }

  /** Sizes in px: of the canvas, of what is beside the matrix, and of a cell. */
  measure() {
    const most = this.box.clientWidth
    const names = Math.min(this.longest(), 170, most * 0.3)
    const width = Math.min(most, names + classes * 110)
    const beside = (width - names) / classes >= NAMED ? names : TITLE
    const cell = (width - beside) / classes * this.zoom
    this.width = width
    this.cellSize = cell
    this.beside = cell >= NAMED ? names : TITLE
    this.shown = (width - this.beside) / cell // cells a side
    const last = Math.max(classes - this.shown, 0)
    this.left = Math.min(Math.max(this.left, 0), last)
    this.top = Math.min(Math.max(this.top, 0), last)
  }

  draw() {
    this.measure()
    const ratio = window.devicePixelRatio || 1
    this.canvas.width = this.canvas.height = Math.round(this.width * ratio)
    this.canvas.style.width = this.canvas.style.height = this.width + "px"
    this.box.classList.toggle("zoomed", this.zoom > 1)
    const style = getComputedStyle(document.documentElement)
    this.color = name => style.getPropertyValue(name).trim()
    const paint = this.paint = this.canvas.getContext("2d")
    paint.scale(ratio, ratio)
    paint.fillStyle = this.color("--track")
    paint.fillRect(this.beside, this.beside, classes * this.cellSize, classes * this.cellSize)
    this.drawCells()
    this.drawNames()
    this.place()
  }

  drawCells() {
    const { paint, cellSize, beside } = this
    const size = cellSize > 6 ? cellSize - 1 : Math.max(cellSize, 2) // px
    const [right, wrong, text, card] = ["--right", "--wrong", "--text", "--card"].map(this.color)
    paint.save()
    paint.beginPath()
    paint.rect(beside, beside, this.width, this.width)
    paint.clip()
    paint.font = `${Math.min(13, cellSize * 0.4)}px system-ui, sans-serif`
    paint.textAlign = "center"
    paint.textBaseline = "middle"
    for (const [key, found] of pairs) {
      const [label, predicted] = [Math.floor(key / classes), key % classes]
      const [x, y] = [beside + (predicted - this.left) * cellSize, beside + (label - this.top) * cellSize]
      if (x + size < beside || y + size < beside || x > this.width || y > this.width) continue
      const part = found.length / DATA.videos[label]
      paint.globalAlpha = 0.25 + 0.75 * Math.sqrt(part)
      paint.fillStyle = label === predicted ? right : wrong
      paint.fillRect(x, y, size, size)
      if (cellSize >= 26) {
        paint.globalAlpha = 1
        paint.fillStyle = part > 0.15 ? card : text
        paint.fillText(number(found.length), x + size / 2, y + size / 2)
      }
    }
    paint.restore()
  }

  drawNames() {
    const { paint, cellSize, beside } = this
    paint.font = FONT
    paint.fillStyle = this.color("--soft")
    paint.textBaseline = "middle"
    if (cellSize < NAMED) {
      paint.textAlign = "left"
      paint.fillText("taken for \u2192", beside, beside / 2)
      this.turned(beside / 2, this.width, "\u2190 truth", "right", beside)
      return
    }
    for (let index = Math.floor(this.top); index < Math.min(classes, this.top + this.shown); index++) {
      const y = beside + (index - this.top + 0.5) * cellSize
      paint.textAlign = "right"
      if (y > beside) paint.fillText(this.fit(DATA.names[index], beside - 8), beside - 5, y)
    }
    for (let index = Math.floor(this.left); index < Math.min(classes, this.left + this.shown); index++) {
      const x = beside + (index - this.left + 0.5) * cellSize
      if (x > beside) this.turned(x, beside - 5, this.fit(DATA.names[index], beside - 8), "left")
    }
  }

  /** Text that runs upwards from (x, y), or ends there. */
  turned(x, y, text, align) {
    const { paint } = this
    paint.save()
    paint.translate(x, align === "right" ? this.beside : y)
    paint.rotate(-Math.PI / 2)
    paint.textAlign = align
    paint.fillText(text, 0, 0)
    paint.restore()
  }

  fit(text, width) {
    if (this.paint.measureText(text).width <= width) return text
    let [low, high] = [0, text.length]
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.paint.measureText(text.slice(0, middle) + "\u2026").width <= width) low = middle
      else high = middle - 1
    }
    return text.slice(0, low) + "\u2026"
  }

  /** Puts the frame around the chosen cell, and says what the cell holds. */
  place() {
    this.frame.hidden = !this.cell
    if (!this.cell) return
    const [label, predicted] = this.cell
    const { style } = this.frame
    const [x, y] = [predicted - this.left, label - this.top].map(place => this.beside + place * this.cellSize)
    style.left = `${x - 2}px`
    style.top = `${y - 2}px`
    style.width = style.height = `${Math.max(this.cellSize, 2) + 3}px`
    this.frame.hidden = x < this.beside - 1 || y < this.beside - 1 || x >= this.width || y >= this.width
    const [found, all] = [count(label, predicted), DATA.videos[label]]
    const part = `: ${number(found)} of ${counted(all, "video")}` + (all ? ` (${percent(found / all)})` : "")
    const truth = named(DATA.names[label])
    const said = label === predicted ? [" rightly recognised"] : [" taken for ", named(DATA.names[predicted])]
    find("#said").replaceChildren(truth, ...said, part)
  }

  /** Chooses a cell, and scrolls the matrix to it. */
  move(label, predicted) {
    this.cell = [label, predicted].map(index => Math.min(Math.max(index, 0), classes - 1))
    this.top = Math.min(Math.max(this.top, this.cell[0] + 1 - this.shown), this.cell[0])
    this.left = Math.min(Math.max(this.left, this.cell[1] + 1 - this.shown), this.cell[1])
    this.draw()
  }

  /** Zooms; the place (x, y), in px, keeps its cell. */
  scale(factor, x = this.width / 2, y = this.width / 2) {
    const [column, row] = [this.left + (x - this.beside) / this.cellSize, this.top + (y - this.beside) / this.cellSize]
    const most = Math.max(40 / (this.cellSize / this.zoom), 1) // a cell of 40 px
    this.zoom = Math.min(Math.max(this.zoom * factor, 1), most)
    this.measure()
    this.left = column - (x - this.beside) / this.cellSize
    this.top = row - (y - this.beside) / this.cellSize
    this.draw()
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect()
    const [x, y] = [event.clientX - box.left, event.clientY - box.top]
    const [row, column] = [this.top + (y - this.beside) / this.cellSize, this.left + (x - this.beside) / this.cellSize]
    const cell = [row, column].map(Math.floor)
    const inside = x >= this.beside && y >= this.beside && Math.max(...cell) < classes
    return { x, y, cell: inside ? cell : null }
  }

  listen() {
    let from = null // where the pointer went down
    this.canvas.addEventListener("pointerdown", event => {
      from = { ...this.at(event), left: this.left, top: this.top, moved: false }
      this.canvas.setPointerCapture(event.pointerId)
    })
    this.canvas.addEventListener("pointermove", event => {
      const now = this.at(event)
      if (from && Math.hypot(now.x - from.x, now.y - from.y) > 5) from.moved = true
      if (from && from.moved && this.zoom > 1) {
        this.left = from.left - (now.x - from.x) / this.cellSize
        this.top = from.top - (now.y - from.y) / this.cellSize
        this.draw()
      } else if (now.cell) {
        this.cell = now.cell
        this.place()
      }
    })
    this.canvas.addEventListener("pointerup", event => {
      const now = this.at(event)
      if (from && !from.moved && now.cell) {
        this.cell = now.cell
        this.place()
        openPair(...now.cell)
      }
      from = null
    })
    this.canvas.addEventListener("pointercancel", () => { from = null })
    this.canvas.addEventListener("wheel", event => {
      if (!event.ctrlKey) return // the page scrolls
      event.preventDefault()
      const { x, y } = this.at(event)
      this.scale(Math.exp(-event.deltaY / 200), x, y)
    }, { passive: false })
    this.canvas.addEventListener("keydown", event => this.key(event))
    find("#zoom_in").addEventListener("click", () => this.closer(2))
    find("#zoom_out").addEventListener("click", () => this.closer(0.5))
    find("#zoom_all").addEventListener("click", () => {
      this.reset()
      this.draw()
    })
  }

  /** Zooms towards the chosen cell. */
  closer(factor) {
    if (!this.cell) return this.scale(factor)
    const [row, column] = [this.cell[0] - this.top + 0.5, this.cell[1] - this.left + 0.5]
    this.scale(factor, this.beside + column * this.cellSize, this.beside + row * this.cellSize)
    this.move(...this.cell)
  }

  key(event) {
    const ways = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }
    const cell = this.cell || [0, 0]
    if (event.ctrlKey || event.metaKey || event.altKey) return
    if (ways[event.key]) this.move(...(this.cell ? cell.map((index, axis) => index + ways[event.key][axis]) : cell))
    else if (event.key === "+" || event.key === "=") this.closer(2)
    else if (event.key === "-") this.closer(0.5)
    else if (event.key === "0") find("#zoom_all").click()
    else if (event.key === "Enter" || event.key === " ") openPair(...cell)
    else return
    event.preventDefault()
  }
}

const matrix = new Matrix(find(".matrix"))

// ---- coverage

const slider = find("#threshold")
const kept = new Array(DATA.levels + 1).fill(0) // by level: videos of at least this confidence
const keptRight = [...kept]
for (const video of ordered) {
  kept[DATA.confidence[video]]++
  keptRight[DATA.confidence[video]] += isRight(video)
}
for (let level = DATA.levels - 1; level >= 0; level--) {
  kept[level] += kept[level + 1]
  keptRight[level] += keptRight[level + 1]
}

function showThreshold() {
  const level = Number(slider.value)
  const [found, right] = [kept[level], keptRight[level]]
  const part = found / Math.max(ordered.length, 1)
  const decided = `${percent(part)} of the videos (${number(found)}) are decided`
  const left = `${number(ordered.length - found)} are left for a person to look at`
  const outcome = found ? ` with ${percent(right / found)} right` : ""
  const from = `At a confidence of ${(level / DATA.levels).toFixed(4)} or more`
  find("#decided").textContent = `${from}, ${decided}${outcome}; ${left}.`
  slider.setAttribute("aria-valuetext", find("#decided").textContent)
  const x = DATA.plot[0] + DATA.plot[1] * part
  find("#cut").setAttribute("d", `M${x} ${DATA.plot[2]}V${DATA.plot[3]}`)
}
slider.addEventListener("input", showThreshold)
for (const each of document.querySelectorAll("[data-level]")) {
  each.addEventListener("click", () => { slider.value = each.dataset.level; showThreshold() })
}
showThreshold()

// ---- lists of videos

find("#all").addEventListener("click", () => videos.open(ordered, "All videos, the most confident first"))
const mistakes = ordered.filter(video => !isRight(video))
find("#wrong").addEventListener("click", () => videos.open(mistakes, "All mistakes, the most confident first"))
const failures = find("#failures")
if (failures) {
  const draw = ([name, reason]) => make("div", "", named(name), make("small", "", named(reason)))
  new FilteredList(failures, draw, row => row.join(" ")).show(DATA.failures, "failed video")
}
