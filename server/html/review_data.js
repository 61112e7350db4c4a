// The review of predictions: its data, what is sent to the server, which keeps the decisions, and the numbers it gives.
"use strict"
const UNUSABLE = "unusable"

let DATA // what the server said
let saved = [] // item -> the decision that is on the disk
const pending = new Map() // item -> the last of its decisions that are on their way
let undoable = [] // {item, old}
let sending = Promise.resolve() // one request after the other
let common = "" // the folder that all videos have in common
let unreached = false // whether the last question about others' decisions failed

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
