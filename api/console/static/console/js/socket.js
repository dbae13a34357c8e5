// The socket of a job: it delivers each event once and in order, and comes back after a loss.

const SILENCE_MS = 25000; // the server sends at least every 10 s
const MAX_DELAY_MS = 15000;
const FINAL = { 4401: "signedout", 4404: "removed", 4403: "removed" };

/**
 * Follow a job's events behind number `after`.
 *
 * Handlers: events(list), state(name, ageS) with the names connected, reconnecting, polling, signedout, removed
 * and ended, and poll(), which is called instead of events while the socket fails again and again.
 */
export function follow(path, after, handlers) {
  let last = after;
  let failures = 0;
  let heardAt = Date.now();
  let socket = null;
  let isOver = false;
  let retry = 0;

  function connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(`${scheme}//${location.host}${path}?after=${last}`);
    socket.addEventListener("message", (message) => receive(JSON.parse(message.data)));
    socket.addEventListener("close", (event) => lost(event.code));
  }

  function receive(frame) {
    heardAt = Date.now();
    failures = 0;
    handlers.state("connected", 0);
    const fresh = (frame.events ?? []).filter((event) => event.number > last);
    if (fresh.length && fresh[0].number !== last + 1) {
      socket.close();
      return;
    }
    if (fresh.length) {
      last = fresh[fresh.length - 1].number;
      handlers.events(fresh);
    }
    if (frame.end) {
      isOver = true;
      handlers.state("ended", 0);
    } else if (frame.head > last) {
      socket.close();
    }
  }

  function lost(code) {
    if (isOver) return;
    if (FINAL[code]) {
      isOver = true;
      handlers.state(FINAL[code], 0);
      return;
    }
    failures += 1;
    report();
    if (failures >= 3) handlers.poll();
    const delay = Math.min(MAX_DELAY_MS, 500 * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
    clearTimeout(retry);
    retry = setTimeout(connect, delay);
  }

  function report() {
    handlers.state(failures >= 3 ? "polling" : "reconnecting", Math.round((Date.now() - heardAt) / 1000));
  }

  setInterval(() => {
    if (isOver) return;
    if (failures) report();
    else if (Date.now() - heardAt > SILENCE_MS) socket.close();
  }, 1000);
  connect();
}
