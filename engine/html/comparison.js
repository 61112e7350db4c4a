// The page of a comparison: what each class won or lost, and which videos changed. A video is a place in the arrays.
"use strict"
const places = DATA.ids.map((_, video) => video)
const taken = (who, predicted, confidence) => {
  const sure = `, ${percent(confidence)} confident`
  return [`${who} `, named(DATA.names[predicted]), sure]
}

function detail(video) {
  const [label, won] = [DATA.labels[video], DATA.won[video]]
  const first = taken("first:", DATA.first[video], DATA.first_confidence[video])
  const second = taken("second:", DATA.second[video], DATA.second_confidence[video])
  return [won ? "won: it is " : "lost: it is ", named(DATA.names[label]), "; ", ...first, "; ", ...second]
}

function classRow(row) {
  const gained = row.second - row.first
  const track = make("span", "track")
  const bar = track.appendChild(make("span", gained < 0 ? "lost" : ""))
  const width = Math.abs(gained) / DATA.most / 2
  bar.style.width = percent(width)
  bar.style.left = percent(gained < 0 ? 0.5 - width : 0.5)
  track.append(make("span", "axis"))
  const sign = gained > 0 ? "+" : gained < 0 ? "\u2212" : ""
  const said = make("span", "", `${sign}${Math.abs(gained)}`, " ", make("small", "", `of ${row.videos}`))
  const element = button("class", () => openClass(row), named(DATA.names[row.index], "clamp"), track, said)
  element.title = `${DATA.names[row.index]}: ${row.first} of ${row.videos} right before, ${row.second} now`
  return element
}

const videos = new Window(detail)
function openClass(row) {
  const found = places.filter(video => DATA.labels[video] === row.index)
  videos.open(found, named(DATA.names[row.index]), `: ${row.first} of ${row.videos} right before, ${row.second} now`)
}

const gain = row => row.second - row.first
const orders = {
  won: (a, b) => gain(b) - gain(a) || a.index - b.index,
  lost: (a, b) => gain(a) - gain(b) || a.index - b.index,
  name: (a, b) => collator.compare(DATA.names[a.index], DATA.names[b.index]) || a.index - b.index,
}
const classList = new FilteredList(find("#classes"), classRow, row => DATA.names[row.index])
const order = find("#classes select")
const showClasses = () => classList.show([...DATA.classes].sort(orders[order.value]), "class")
order.addEventListener("change", showClasses)
showClasses()

const changed = find("#changed")
const which = changed.querySelector("select")
const draw = video => make("div", "", named(id(video)), make("small", "", ...detail(video)))
const words = video => {
  const classes = [DATA.labels, DATA.first, DATA.second].map(each => DATA.names[each[video]])
  return [id(video), ...classes].join(" ")
}
const changes = new FilteredList(changed, draw, words)
const showChanges = () => {
  const rows = which.value ? places.filter(video => DATA.won[video] === (which.value === "won")) : places
  changes.show(rows, "video", "No video changed.")
}
which.addEventListener("change", showChanges)
showChanges()

for (const [name, rows] of Object.entries(DATA.alone)) {
  const place = find(`#${name}`)
  if (place) new FilteredList(place, video => make("div", "", named(video)), video => video).show(rows, "video")
}
