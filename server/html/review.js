// The review of predictions: what is shown, in which order, and the keys.
"use strict"
const NEAR = 40 // rows of the list before and after the one that is shown
const POLL_MS = 10000 // how often the decisions of others are asked for

let queue = [] // items, in the order they are shown
let place = 0 // in the queue

// --- what is shown, and in which order

const ORDERS = {
  least: (a, b) => sureness(a) - sureness(b),
  most: (a, b) => sureness(b) - sureness(a),
  class: (a, b) => collator.compare(nameOf(predicted(a)), nameOf(predicted(b))) || sureness(a) - sureness(b),
  file: (a, b) => collator.compare(DATA.videos[a], DATA.videos[b]),
  random: (a, b) => DATA.ranks[a] - DATA.ranks[b],
}

function arrange(focus = true) {
  const show = find("#show").value, words = find("#filter").value.toLowerCase().split(/\s+/)
  const fits = item => {
    const label = DATA.labels[item] === null ? "" : nameOf(DATA.labels[item])
    const text = `${DATA.videos[item]} ${nameOf(predicted(item))} ${label}`.toLowerCase()
    return (show === "all" || show === stateOf(item)) && words.every(word => text.includes(word))
  }
  queue = [...DATA.videos.keys()].filter(fits).sort((a, b) => ORDERS[find("#order").value](a, b) || a - b)
  place = 0
  showItem(focus)
}

/** Shows an item, which is put into the queue if it is not there. */
function go(item) {
  const found = queue.indexOf(item)
  if (found < 0) queue.splice(place, 0, item)
  else place = found
  showItem()
}

function step(by) {
  if (!queue[place + by] && queue[place + by] !== 0) return say(by > 0 ? "This is the last one." : "This is the first one.")
  place += by
  showItem()
}

/** To the next item that waits for a decision, round the end of the queue; with other lists, to the next one. */
function advance() {
  if (find("#show").value !== "left") return place + 1 < queue.length ? step(1) : showItem()
  const order = [...queue.slice(place + 1), ...queue.slice(0, place + 1)]
  const next = order.find(item => decision(item) === null)
  if (next === undefined) {
    place = queue.length
    showItem()
  } else go(next)
}

const current = () => queue[place]

/** Shows what is at the place in the queue, and moves the focus there, so that the next key is about it. */
function showItem(focus = true) {
  const item = current()
  complain("")
  find("#stage").hidden = false
  find("#stage").classList.toggle("over", item === undefined)
  find("#finished").hidden = item !== undefined
  if (item === undefined) {
    showMedia(undefined)
    const left = DATA.scores.items - DATA.scores.done
    find("#finished").textContent = queue.length ? "All of these are reviewed." : "Nothing to show here: choose another list above."
    if (!queue.length && !left && find("#show").value === "left") find("#finished").textContent = "All videos are reviewed."
  } else {
    find("#name").replaceChildren(named(short(item)), span(item), make("small", "soft", named(common)))
    showMedia(item)
    showChoices(item)
    find("#search").value = ""
    closeNames()
    if (focus) find("#name").focus({ preventScroll: true })
    say(`${short(item)}${span(item)}: ${nameOf(predicted(item))}, ${percent(sureness(item))}`)
  }
  showState()
  showList()
}

function say(text) {
  find("#said").textContent = text
}

function showMedia(item) {
  const video = find("#video"), strip = find("#strip"), problem = find("#problem")
  video.hidden = strip.hidden = problem.hidden = true
  video.removeAttribute("src")
  strip.removeAttribute("src")
  if (item === undefined) return video.load()
  const lost = DATA.problems[item]
  if (lost) {
    problem.textContent = lost
    problem.hidden = false
    video.load()
  } else {
    video.hidden = false
    video.src = address("video", item) + (DATA.spans[item] ? `#t=${DATA.spans[item].join()}` : "")
    video.play().catch(() => {})
  }
}

/** Frames instead of a video that the browser cannot play. */
function showStrip() {
  if (current() === undefined || find("#video").hidden) return
  find("#video").hidden = true
  find("#strip").hidden = false
  find("#strip").src = address("frames", current())
}

async function explainStrip() {
  if (find("#strip").hidden) return
  find("#strip").hidden = true
  find("#problem").hidden = false
  try {
    await ask(find("#strip").src)
    find("#problem").textContent = "The browser cannot show this video."
  } catch (error) {
    find("#problem").textContent = error.message
  }
}

function keepInWindow() {
  const window = current() !== undefined && DATA.spans[current()], video = find("#video")
  if (window && (video.currentTime >= window[1] || video.currentTime < window[0] - 0.3)) {
    video.currentTime = window[0]
    video.play().catch(() => {})
  }
}

function showChoices(item) {
  const rows = DATA.choices[item].map(([index, share], rank) => {
    const label = make("span", "", named(nameOf(index))), fill = make("i")
    if (DATA.labels[item] === index) label.append(make("small", "", "label in the list"))
    fill.style.width = percent(share ?? 0)
    const track = make("i", "", fill)
    if (share === null) track.style.visibility = "hidden"
    const bar = make("div", "bar", label, track, make("b", "", share === null ? "" : percent(share)))
    const button = make("button", "", make("kbd", "", String(rank + 1)), bar)
    if (!rank) bar.firstChild.append(" ", make("kbd", "enter", "Enter"))
    button.type = "button"
    button.disabled = Boolean(DATA.problems[item])
    button.addEventListener("click", () => choose(index))
    return button
  })
  find("#choices").replaceChildren(...rows)
  find("#search").disabled = Boolean(DATA.problems[item])
}

function showState() {
  const item = current()
  find("#undo").disabled = !undoable.length
  if (item === undefined) return
  find("#state").className = `is_${stateOf(item)}`
  find("#state").textContent = stateText(item)
  find("#position").textContent = `${number(place + 1)} of ${number(queue.length)}`
  const buttons = find("#choices").children
  DATA.choices[item].forEach(([index], rank) => buttons[rank]?.setAttribute("aria-pressed", decision(item) === index))
  find("#unusable").setAttribute("aria-pressed", decision(item) === UNUSABLE)
}

/** The rows around the one that is shown. */
function showList() {
  const first = Math.max(place - NEAR, 0)
  const rows = queue.slice(first, place + NEAR + 1).map((item, offset) => {
    const label = stateOf(item) === "left" ? `${nameOf(predicted(item))} ${percent(sureness(item))}` : stateText(item)
    const row = make("button", "", make("span", "", named(short(item)), span(item)), make("span", `is_${stateOf(item)}`, label))
    row.type = "button"
    row.addEventListener("click", () => go(item))
    if (first + offset === place) row.setAttribute("aria-current", "true")
    return row
  })
  const list = find("#list")
  list.replaceChildren(...rows)
  const row = list.querySelector("[aria-current]")
  if (row) list.scrollTop = row.offsetTop - list.offsetTop - list.clientHeight / 3
}

// --- what people do

function choose(now) {
  const item = current()
  if (item === undefined) return
  if (DATA.problems[item] && now !== UNUSABLE) return complain(DATA.problems[item])
  decide(item, now)
  advance()
}

function skip() {
  if (current() !== undefined) advance()
}

function undo() {
  const last = undoable.pop()
  if (!last) return say("There is nothing to undo.")
  decide(last.item, last.old, false)
  go(last.item)
}

function pause() {
  const video = find("#video")
  if (video.paused) video.play().catch(() => {})
  else video.pause()
}

// --- keys

const KEYS = {
  x: () => choose(UNUSABLE),
  s: skip,
  u: undo,
  p: pause,
  "/": () => find("#search").focus(),
  "?": () => find("#help").showModal(),
}

function pressed(event) {
  if (find("#help").open || event.isComposing || event.target.matches("input, select, textarea")) return
  if (event.ctrlKey || event.metaKey || event.altKey) {
    if (event.key.toLowerCase() !== "z" || event.altKey || event.shiftKey) return
    event.preventDefault()
    return undo()
  }
  const item = current(), inVideo = event.target.matches("video"), inButton = event.target.matches("button, summary")
  let act
  if (event.key === "Enter" || event.key === " ") {
    if (!inButton && !(inVideo && event.key === " ")) act = item !== undefined && !event.repeat && (() => choose(predicted(item)))
  } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    if (!inVideo) act = () => step(event.key === "ArrowLeft" ? -1 : 1)
  } else if (find("#keys_on").checked && !event.repeat) {
    const choice = /^[1-5]$/.test(event.key) && item !== undefined && DATA.choices[item][event.key - 1]
    act = choice ? () => choose(choice[0]) : KEYS[event.key.toLowerCase()]
  }
  if (!act) return
  event.preventDefault()
  act()
}

// --- the beginning

async function begin() {
  try {
    const response = await fetch("review/data"), answer = await response.json()
    if (!response.ok) throw new Error(answer.error)
    DATA = answer
  } catch (error) {
    return complain(error.message)
  }
  common = DATA.videos.reduce((most, each) => {
    let end = Math.min(most.length, each.lastIndexOf("/") + 1)
    while (most.slice(0, end) !== each.slice(0, end)) end = end > 1 ? most.lastIndexOf("/", end - 2) + 1 : 0
    return most.slice(0, end)
  }, DATA.videos[0].slice(0, DATA.videos[0].lastIndexOf("/") + 1))
  document.title = `Review: ${DATA.title}`
  find("#source").textContent = DATA.title
  find("#list_path").textContent = DATA.list
  find("#windows_note").textContent = DATA.windows ? "Windows of one video are alike: the ranges of those reviewed are too narrow." : ""
  find("#note").hidden = DATA.complete
  find("#note").textContent = "Only the classes that occur in the results can be chosen: the results do not name the others."
  take(DATA)
  arrange()
  setInterval(poll, POLL_MS)
}

for (const name of ["order", "show"]) find(`#${name}`).addEventListener("change", () => arrange())
find("#filter").addEventListener("input", () => arrange(false))
find("#tools").addEventListener("submit", event => event.preventDefault())
find("#video").addEventListener("error", showStrip)
find("#video").addEventListener("loadedmetadata", () => find("#video").videoWidth || showStrip())
find("#video").addEventListener("timeupdate", keepInWindow)
find("#strip").addEventListener("error", explainStrip)
find("#search").addEventListener("input", showNames)
find("#search").addEventListener("focus", showNames)
find("#search").addEventListener("blur", closeNames)
find("#search").addEventListener("keydown", searchKey)
find("#unusable").addEventListener("click", () => choose(UNUSABLE))
find("#skip").addEventListener("click", skip)
find("#undo").addEventListener("click", undo)
find("#back").addEventListener("click", () => step(-1))
find("#next").addEventListener("click", () => step(1))
find("#help_button").addEventListener("click", () => find("#help").showModal())
document.addEventListener("keydown", pressed)
window.addEventListener("beforeunload", event => pending.size && event.preventDefault())
begin()
