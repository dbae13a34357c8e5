// Numbers and durations for people; exact values go to titles and tables.

/** Return a number with significant digits; "—" for null. */
export function number(value, digits = 4) {
  if (value === null || value === undefined) return "—";
  if (!Number.isFinite(value)) return "NaN";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
    const [mantissa, exponent] = value.toExponential(2).split("e");
    return `${Number(mantissa)}e${Number(exponent)}`;
  }
  return String(Number(value.toPrecision(digits)));
}

/** Return a count with a unit, such as 12.4 k. */
export function shortCount(value) {
  if (value === null || value === undefined) return "—";
  for (const [limit, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= limit) return `${Number((value / limit).toPrecision(3))} ${unit}`;
  }
  return String(Number(value.toPrecision(3)));
}

const UNITS = {
  en: { day: "d", hour: "h", minute: "min", second: "s" },
  zh: { day: "天", hour: "小时", minute: "分", second: "秒" },
};

/** Return seconds as a duration in the page's language, in the words of the server's filter of this name. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "—";
  const units = document.documentElement.lang.startsWith("zh") ? UNITS.zh : UNITS.en;
  const whole = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [whole / 86400, (whole % 86400) / 3600, (whole % 3600) / 60].map(Math.floor);
  if (days) return `${days} ${units.day} ${hours} ${units.hour}`;
  if (hours) return `${hours} ${units.hour} ${minutes} ${units.minute}`;
  if (minutes) return `${minutes} ${units.minute} ${whole % 60} ${units.second}`;
  return `${whole} ${units.second}`;
}

/** Return a text with its placeholders replaced: fill("%n new", {n: 3}). */
export function fill(text, values) {
  return Object.entries(values).reduce((result, [name, value]) => result.replaceAll(`%${name}`, String(value)), text);
}
