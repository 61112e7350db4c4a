// The camera: its newest frame goes to the server, and what the network says of it comes back.
"use strict"
const QUALITY = 0.8 // of a frame's JPEG
const IN_FLIGHT = 2 // frames that the server has not answered, at most
const THUMB_S = 0.5 // seconds from one picture of the strip to the next
const THUMB = 84 // px, its width and height
const MOST_THUMBS = 24

class Camera {
  constructor(video) {
    this.video = video
    this.canvas = document.createElement("canvas")
    this.thumbs = []
    this.latencies = []
    this.answers = []
    this.label = ""
  }

  async start() {
    if (!navigator.mediaDevices) throw new Error("browsers give the camera to pages of localhost and of https:// alone")
    this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 }, audio: false })
    this.video.srcObject = this.stream
    await this.video.play()
    const address = new URL("camera", location)
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:"
    this.socket = new WebSocket(address)
    this.socket.binaryType = "arraybuffer"
    this.socket.onmessage = event => this.hear(JSON.parse(event.data))
    this.socket.onclose = () => this.stop(this.error ?? "the connection broke off")
    this.stream.getVideoTracks()[0].onended = () => this.stop("the camera ended")
  }

  stop(why = "") {
    if (this.ended) return
    this.ended = true
    clearInterval(this.timer)
    for (const track of this.stream?.getTracks() ?? []) track.stop()
    if (this.socket) this.socket.onclose = null
    this.socket?.close()
    this.onstop(why)
  }

  hear(message) {
    if (message.error) this.error = message.error
    else if (message.fps) this.begin(message)
    else if (message.got !== undefined) this.waiting -= 1
    else this.show(message)
  }

  begin({ fps, window_s, short_size }) {
    const scale = Math.min(short_size / Math.min(this.video.videoWidth, this.video.videoHeight), 1)
    this.canvas.width = Math.round(this.video.videoWidth * scale)
    this.canvas.height = Math.round(this.video.videoHeight * scale)
    this.waiting = 0
    this.windowSeconds = window_s
    this.timer = setInterval(() => this.send(), 1000 / fps)
  }

  /** Sends the frame of now, unless the server has not read the last ones: then a later one is sent. */
  async send() {
    if (this.waiting >= IN_FLIGHT || this.socket.readyState !== WebSocket.OPEN) return
    this.waiting += 1
    const now = performance.now() / 1000
    this.canvas.getContext("2d").drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height)
    this.keep(now)
    const jpeg = await new Promise(done => this.canvas.toBlob(done, "image/jpeg", QUALITY))
    const message = new Uint8Array(8 + jpeg.size)
    new DataView(message.buffer).setFloat64(0, now, true)
    message.set(new Uint8Array(await jpeg.arrayBuffer()), 8)
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(message)
  }

  /** Keeps a small picture every half second, for the strip. */
  keep(now) {
    const last = this.thumbs.at(-1)
    if (!last || now - last.time >= THUMB_S) {
      const picture = document.createElement("canvas")
      const side = Math.min(this.canvas.width, this.canvas.height)
      const corner = [(this.canvas.width - side) / 2, (this.canvas.height - side) / 2]
      picture.width = picture.height = THUMB
      picture.getContext("2d").drawImage(this.canvas, ...corner, side, side, 0, 0, THUMB, THUMB)
      this.thumbs.push({ time: now, picture, label: "" })
      if (this.thumbs.length > MOST_THUMBS) this.thumbs.shift()
    }
  }

  show({ at, top, event, ms, left }) {
    const now = performance.now() / 1000
    const [best] = top
    this.label = event ?? best.name
    this.latencies = [...this.latencies.slice(-49), now - at]
    this.answers = [...this.answers.filter(time => now - time < 3), now]
    for (const thumb of this.thumbs) if (!thumb.label && thumb.time <= at) thumb.label = this.label
    const sorted = [...this.latencies].sort((a, b) => a - b)
    const middle = 1000 * sorted[Math.floor(sorted.length / 2)]
    const rate = this.answers.length > 1 ? (this.answers.length - 1) / (now - this.answers[0]) : 0
    const kind = this.windowSeconds ? `windows of ${this.windowSeconds} s` : "frame by frame"
    find("#label").textContent = `${best.name} ${percent(best.probability)}`
    drawBars(find("#live_bars"), top)
    find("#latency").textContent =
      `${kind}: latency ${Math.round(middle)} ms (network ${Math.round(ms)} ms), ${rate.toFixed(1)} answers/s, ${left} left out`
    this.draw()
  }

  /** The strip of the last seconds, as many as fit, with the label below each stretch of it. */
  draw() {
    const canvas = find("#last")
    canvas.width = canvas.parentNode.clientWidth
    const context = canvas.getContext("2d")
    context.font = "600 14px system-ui, sans-serif"
    context.fillStyle = "#e6eaef"
    const step = THUMB + 2
    const thumbs = this.thumbs.slice(-Math.floor(canvas.width / step))
    thumbs.forEach(({ picture, label }, place) => {
      context.drawImage(picture, place * step, 0)
      if (!label || label === thumbs[place - 1]?.label) return
      const until = thumbs.findIndex((other, later) => later > place && other.label !== label)
      const room = ((until < 0 ? thumbs.length : until) - place) * step - 4
      context.fillText(shortened(context, label, room), place * step + 2, THUMB + 18)
    })
  }
}

/** As much of a text as fits into so many pixels. */
function shortened(context, text, room) {
  if (context.measureText(text).width <= room) return text
  let end = text.length
  while (end && context.measureText(text.slice(0, end) + "\u2026").width > room) end -= 1
  return end ? text.slice(0, end) + "\u2026" : ""
}

let camera = null
const button = find("#camera_button")
button.addEventListener("click", async () => {
  const saidOfCamera = find("#camera_said")
  if (camera) {
    camera.stop()
    return
  }
  const mine = (camera = new Camera(find("#camera")))
  button.textContent = "Stop the camera"
  find("#live").hidden = false
  say(saidOfCamera, "")
  mine.onstop = why => {
    camera = null
    button.textContent = "Start the camera"
    say(saidOfCamera, why, Boolean(why))
  }
  try {
    await mine.start()
  } catch (error) {
    mine.stop(error.name === "NotAllowedError" ? "the browser was told not to give the camera" : error.message)
    find("#live").hidden = true
  }
})
addEventListener("pagehide", () => camera?.stop())
