// A video: what the server says of it, as it comes, and the timeline of its windows.
"use strict"
const COLORS = ["#0b6e99", "#c2500a", "#5b8c2a", "#8a4fb0", "#b8860b", "#c2407f", "#2a8c86", "#7a5c3e"]

/** Bars of the most probable classes, in place of what a box has. */
function drawBars(box, top) {
  box.replaceChildren(...top.map(({ name, probability }) => {
    const fill = make("i")
    fill.style.width = percent(probability)
    const label = make("span", "", name)
    label.dir = "auto"
    return make("div", "bar", label, make("i", "", fill), make("b", "", percent(probability)))
  }))
}

function say(element, text, wrong = false) {
  element.textContent = text
  element.classList.toggle("wrong", wrong)
}

/** Calls `take` with each JSON line of an answer as it comes, and with {"error"} if it is refused or breaks off. */
function send(file, query, take, sent) {
  const request = new XMLHttpRequest()
  let seen = 0
  const read = () => {
    const lines = request.responseText.slice(seen).split("\n")
    for (const line of lines.slice(0, -1)) {
      seen += line.length + 1
      take(JSON.parse(line))
    }
  }
  request.open("POST", "predict?" + new URLSearchParams(query))
  request.upload.onprogress = event => sent(event.loaded / event.total)
  request.onprogress = () => request.status === 200 && read()
  request.onload = () => request.status === 200 ? read() : take(refusal(request))
  request.onerror = () => take({ error: "the connection broke off" })
  request.send(file)
  return request
}

function refusal(request) {
  try {
    return { error: JSON.parse(request.responseText).error }
  } catch {
    return { error: `the server answered with status ${request.status}` }
  }
}

/** The windows of a video as buttons that cover their time; overlapping ones stand in rows. */
class Timeline {
  constructor(box, choose) {
    this.box = box
    this.choose = choose
    box.addEventListener("keydown", event => this.go(event))
    this.begin(1)
  }

  begin(length) {
    this.length = length
    this.windows = []
    this.rows = []
    this.colors = new Map()
    this.box.replaceChildren()
    find("#legend").replaceChildren()
    find("#end").textContent = length.toFixed(1) + " s"
  }

  add(prediction) {
    const [best] = prediction.top
    const color = this.color(best)
    let row = this.rows.findIndex(end => end <= prediction.start_s + 0.0005)
    if (row < 0) row = this.rows.length
    this.rows[row] = prediction.end_s
    const button = make("button")
    button.type = "button"
    button.title = `${prediction.start_s.toFixed(1)}-${prediction.end_s.toFixed(1)} s: ${best.name} ${percent(best.probability)}`
    button.setAttribute("aria-label", button.title)
    button.setAttribute("aria-pressed", "false")
    button.tabIndex = this.windows.length ? -1 : 0
    Object.assign(button.style, {
      left: percent(prediction.start_s / this.length), top: `${1.8 * row}rem`, height: "1.8rem",
      width: percent((prediction.end_s - prediction.start_s) / this.length),
      background: color, opacity: (0.35 + 0.65 * best.probability).toFixed(2),
    })
    button.addEventListener("click", () => this.choose(prediction))
    this.box.style.height = `${1.8 * this.rows.length}rem`
    this.box.append(button)
    this.windows.push({ prediction, button })
  }

  /** Classes have a colour each in the order in which they come; those after the eighth share grey. */
  color(best) {
    if (!this.colors.has(best.class)) {
      const color = COLORS[this.colors.size] ?? "#808a94"
      this.colors.set(best.class, color)
      const key = make("i")
      key.style.background = color
      if (this.colors.size <= COLORS.length) find("#legend").append(make("span", "", key, best.name))
    }
    return this.colors.get(best.class)
  }

  mark(prediction) {
    for (const each of this.windows) {
      const chosen = each.prediction === prediction
      each.button.setAttribute("aria-pressed", String(chosen))
      each.button.tabIndex = chosen ? 0 : -1
    }
    if (!prediction && this.windows.length) this.windows[0].button.tabIndex = 0
  }

  at(time) {
    return this.windows.findLast(({ prediction }) => prediction.start_s <= time && time < prediction.end_s)?.prediction
  }

  go(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    const place = this.windows.findIndex(({ button }) => button === document.activeElement)
    const next = this.windows[place + step]
    if (!step || place < 0 || !next) return
    event.preventDefault()
    next.button.focus()
    this.choose(next.prediction)
  }
}

const player = find("#player")
const said = find("#said")
let request = null
let whole = null
let shown = null

const timeline = new Timeline(find("#timeline"), prediction => {
  show(prediction)
  player.pause()
  if (player.readyState) player.currentTime = prediction.start_s
})

/** Shows a prediction: its frames, its bars, and those of its frames in reverse. */
function show(prediction) {
  shown = prediction
  const isWindow = prediction.start_s !== undefined
  find("#span").textContent = isWindow ? `${prediction.start_s.toFixed(1)}-${prediction.end_s.toFixed(1)} s` : "the whole video"
  find("#strip").src = prediction.strip
  drawBars(find("#forward .bars"), prediction.top)
  find("#backward").hidden = !prediction.reverse
  find("#direction").textContent = prediction.reverse ? direction(prediction) : ""
  if (prediction.reverse) drawBars(find("#backward .bars"), prediction.reverse)
  timeline.mark(isWindow ? prediction : null)
}

function direction({ top: [best], reverse, reverse_of_first: now }) {
  const same = reverse[0].class === best.class ? "The first class stays the first" : "Another class is the first"
  return `${same} when the frames come in reverse: "${best.name}" has ${percent(best.probability)} as it is, and ${percent(now)} in reverse.`
}

function begin(file) {
  request?.abort()
  whole = shown = null
  if (file.size > 1e6 * limits.max_mb) {
    say(said, `${file.name} has ${(file.size / 1e6).toFixed(1)} MB, and this server takes ${limits.max_mb} MB`, true)
    return
  }
  find("#result").hidden = find("#timeline_part").hidden = true
  find("#what").textContent = file.name
  URL.revokeObjectURL(player.src)
  player.src = URL.createObjectURL(file)
  find("#no_player").hidden = true
  const bar = find("progress")
  find("#progress").hidden = find("#stop").hidden = false
  bar.removeAttribute("value")
  say(said, "sending ...")
  const query = { stream: 1, whole: 1, strips: 1, window_s: find("#window_s").value || 2 }
  if (find("#reverse").checked) query.reverse = 1
  let seconds = 0
  const take = part => {
    if (part.place) say(said, part.place === 1 ? "one video is computed before this one" : `${part.place} videos are before this one`)
    else if (part.video) {
      seconds = part.video.duration_s
      timeline.begin(seconds)
      say(said, "computing ...")
    } else if (part.prediction) add(part, bar)
    else if (part.seconds !== undefined) {
      say(said, `${seconds.toFixed(1)} s of video, computed in ${part.seconds.toFixed(1)} s` + (part.damage ? `. The file is damaged: ${part.damage}` : ""))
      end()
    } else if (part.error) {
      say(said, part.error, true)
      end()
    }
  }
  request = send(file, query, take, share => share === 1 && bar.removeAttribute("value"))
}

function add({ prediction, done }, bar) {
  if (prediction.start_s === undefined) whole = prediction
  else {
    timeline.add(prediction)
    find("#timeline_part").hidden = false
    bar.value = done
    say(said, `computing: ${Math.round(100 * done)}%`)
  }
  find("#result").hidden = false
  if (!shown) show(prediction)
}

function end() {
  find("#progress").hidden = find("#stop").hidden = true
  request = null
}

find("#file").addEventListener("change", event => {
  if (event.target.files.length) begin(event.target.files[0])
  event.target.value = "" // the same file may be chosen again
})
find("#stop").addEventListener("click", () => {
  request?.abort()
  say(said, "stopped")
  end()
})
find("#whole").addEventListener("click", () => whole && show(whole))
player.addEventListener("error", () => (find("#no_player").hidden = false))
player.addEventListener("timeupdate", () => {
  const now = player.paused ? null : timeline.at(player.currentTime)
  if (now && now !== shown) show(now)
})
const drop = find("#drop")
for (const name of ["dragover", "drop"]) document.addEventListener(name, event => event.preventDefault())
drop.addEventListener("dragover", () => drop.classList.add("over"))
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"))
document.addEventListener("drop", event => event.dataTransfer.files.length && begin(event.dataTransfer.files[0]))

let limits = { max_mb: Infinity }
fetch("about").then(answer => answer.json()).then(about => {
  limits = about
  document.title = find("#title").textContent = `${about.name}, ${about.classes} classes`
  find("#about").textContent = about.description
  find("#review").hidden = !about.review
  find("#limits").textContent = `up to ${about.max_mb} MB and ${about.max_s} s`
})
