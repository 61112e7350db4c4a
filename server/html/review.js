// The review of predictions: what is shown, the keys, and what is sent. The server keeps the decisions and counts.
"use strict"
const find = selector => document.querySelector(selector)
const UNUSABLE = "unusable"
const NEAR = 40 // rows of the list before and after the one that is shown
const NAMES = 50 // classes that are listed at once
const POLL_MS = 10000 // how often the decisions of others are asked for
const percent = share => (100 * share).toFixed(1) + "%"
const number = count => count.toLocaleString("en-US")
const collator = new Intl.Collator(undefined, { numeric: true })

let DATA // what the server said
let saved = [] // item -> the decision that is on the disk
const pending = new Map() // item -> the last of its decisions that are on their way
let queue = [] // items, in the order they are shown
let place = 0 // in the queue
let undoable = [] // {item, old}
let sending = Promise.resolve() // one request after the other
let common = "" // the folder that all videos have in common
let unreached = false // whether the last question about others' decisions failed

/** An element with a class and content; text is never taken for markup. */
function make(tag, style, ...content) {
  const element = document.createElement(tag)
  if (style) element.className = style
  element.append(...content)
  return element
}

/** A name from a file, which may run from right to left. */
function named(text) {
  const element = make("bdi", "", text)
  element.dir = "auto"
  return element
}

const nameOf = index => DATA.names[index] ?? `class ${index}`
const predicted = item => DATA.choices[item][0][0]
const sureness = item => DATA.choices[item][0][1]
const decision = item => pending.has(item) ? pending.get(item).decision : saved[item] ?? null
const address = (what, item) => `review/${what}/${item}?token=${DATA.token}`
const short = item => DATA.videos[item].slice(common.length)
const span = item => DATA.spans[item] ? ` ${DATA.spans[item].map(time => time.toFixed(1)).join("\u2013")} s` : ""

/** "right", "corrected", "unusable" or "left". */
function stateOf(item) {
  const now = decision(item)
  if (now === null) return "left"
  if (now === UNUSABLE) return UNUSABLE
  return now === predicted(item) ? "right" : "corrected"
}

function stateText(item) {
  const state = stateOf(item)
  if (state === "left") return "to review"
  if (state === UNUSABLE) return "unusable"
  return `${state === "right" ? "confirmed" : "corrected"}: ${nameOf(decision(item))}`
}

function complain(text) {
  find("#error").hidden = !text
  find("#error").textContent = text
}

// --- the server

async function ask(path, sent) {
  const how = sent && { method: "POST", headers: { "Content-Type": "application/json" }, keepalive: true,
    body: JSON.stringify(sent) }
  let response
  try {
    response = await fetch(path, how)
  } catch {
    throw new Error("The server does not answer. Is it still running?")
  }
  const answer = await response.json().catch(() => ({}))
  if (answer.changes) take(answer)
  if (!response.ok) throw new Error(answer.error ?? `The server answers ${response.status}.`)
  return answer
}

/** Decisions that the server has, also those of others, and the numbers. */
function take(answer) {
  if (answer.all) saved = []
  for (const [item, now] of answer.changes) saved[item] = now
  DATA.version = answer.version
  DATA.scores = answer.scores
  showScores()
  if (answer.all || answer.changes.length) {
    showState()
    showList()
  }
}

/** Shows a decision, sends it after those before, and takes it back if it could not be saved. */
function decide(item, now, remember = true) {
  const old = decision(item), entry = { decision: now }
  if (now === old) return
  pending.set(item, entry)
  if (remember) undoable.push({ item, old })
  const settle = () => pending.get(item) === entry && pending.delete(item)
  sending = sending.then(async () => {
    try {
      await ask("review/decisions", { token: DATA.token, item, old, new: now, since: DATA.version })
      settle()
    } catch (error) {
      settle()
      undoable = undoable.filter(each => each.item !== item)
      go(item)
      complain(`${DATA.videos[item]}: ${error.message}`)
    }
  })
}

/** Asks for what others have decided. */
async function poll() {
  if (document.hidden) return
  await sending
  try {
    await ask(`review/changes?token=${DATA.token}&since=${DATA.version}`)
    if (unreached) complain("")
    unreached = false
  } catch (error) {
    unreached = true
    complain(error.message)
  }
}

// --- what is shown, and in which order

const ORDERS = {
  least: (a, b) => sureness(a) - sureness(b),
  most: (a, b) => sureness(b) - sureness(a),
  class: (a, b) => collator.compare(nameOf(predicted(a)), nameOf(predicted(b))) || sureness(a) - sureness(b),
  file: (a, b) => collator.compare(DATA.videos[a], DATA.videos[b]),
  random: (a, b) => DATA.ranks[a] - DATA.ranks[b],
}

function arrange() {
  const show = find("#show").value, words = find("#filter").value.toLowerCase().split(/\s+/)
  const fits = item => {
    const label = DATA.labels[item] === null ? "" : nameOf(DATA.labels[item])
    const text = `${DATA.videos[item]} ${nameOf(predicted(item))} ${label}`.toLowerCase()
    return (show === "all" || show === stateOf(item)) && words.every(word => text.includes(word))
  }
  queue = [...DATA.videos.keys()].filter(fits).sort((a, b) => ORDERS[find("#order").value](a, b) || a - b)
  place = 0
  showItem()
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

function showItem() {
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
    find("#name").focus({ preventScroll: true })
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
    const bar = make("div", "bar", label, make("i", "", fill), make("b", "", share === null ? "" : percent(share)))
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

// --- the numbers

const range = share => `(${percent(share.low)} to ${percent(share.high)})`
const of = share => `${percent(share.right / share.count)} ${range(share)}`

function showScores() {
  const { items, done, unusable, relabelled, reviewed, sample, bounds, bins } = DATA.scores, left = items - done
  const noun = DATA.windows ? "windows" : "videos"
  find("#progress").max = items
  find("#progress").value = done
  find("#count").textContent = `${number(done)} of ${number(items)} reviewed, ${number(left)} left`
  const more = [unusable && `${number(unusable)} unusable`, relabelled && `${number(relabelled)} labels of the list were wrong`]
  const extra = more.filter(Boolean).map(each => `; ${each}`).join("")
  find("#reviewed").textContent = reviewed.count
    ? `Of those reviewed: ${number(reviewed.right)} of ${number(reviewed.count)} right, ${of(reviewed)}${extra}. `
      + (left && sample.count < reviewed.count ? "They were not chosen at random: this is not the accuracy on all." : "")
    : `Nothing is reviewed yet${extra}.`
  find("#estimate").textContent = !left || !sample.count
    ? (left ? `To estimate the accuracy on all ${number(items)} ${noun}, review in random order: among the least sure ones more are wrong than among all.` : "")
    : `Estimate for all ${number(items)} ${noun}: ${of(sample)}, from the first ${number(sample.count)} in random order.`
  find("#bounds").textContent = left && done
    ? `Whatever the others turn out to be, between ${percent(bounds[0])} and ${percent(bounds[1])} of all are right.` : ""
  find("#bins").replaceChildren(...bins.map(bin => {
    const share = make("td", "", bin.count ? percent(bin.right / bin.count) + " " : "")
    if (bin.count) share.append(make("small", "", range(bin)))
    const row = make("tr", "", make("th", "", `${Math.round(100 * bin.from)} to ${Math.round(100 * bin.to)}%`),
      make("td", "", `${number(bin.count)} of ${number(bin.items)}`), make("td", "", number(bin.right)), share)
    row.firstChild.scope = "row"
    return row
  }))
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

// --- another class

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

for (const name of ["order", "show"]) find(`#${name}`).addEventListener("change", arrange)
find("#filter").addEventListener("input", arrangeKeepingFocus)
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

function arrangeKeepingFocus() {
  arrange()
  find("#filter").focus()
}
