// The confusion matrix on a canvas. evaluation.js has the pairs of classes, and lists the videos of one.
"use strict"
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
      this.turned(beside / 2, beside, "\u2190 truth", "right")
      return
    }
    paint.textAlign = "right"
    if (beside > 80) {
      paint.fillText("taken for \u2192", beside - 5, beside - 24)
      paint.fillText("truth \u2193", beside - 5, beside - 10)
    }
    for (let index = Math.floor(this.top); index < Math.min(classes, this.top + this.shown); index++) {
      const y = beside + (index - this.top + 0.5) * cellSize
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
    paint.translate(x, y)
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
