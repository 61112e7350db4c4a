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

const matrix = new Matrix(find(".matrix"))
const pairText = key => `${DATA.names[Math.floor(key / classes)]} ${DATA.names[key % classes]}`
const pairList = new FilteredList(find("#pairs"), pairRow, pairText)
pairList.show(confused, "confused pair", "No video was taken for another class.")

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
