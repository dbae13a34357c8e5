// A chat request as a curl command and as Python; the key is a placeholder.

function pythonLiteral(value, indent = "    ") {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) {
    const items = value.map((item) => `${indent}    ${pythonLiteral(item, `${indent}    `)},\n`).join("");
    return `[\n${items}${indent}]`;
  }
  if (typeof value === "object") {
    const items = Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${pythonLiteral(item, indent)}`);
    return `{${items.join(", ")}}`;
  }
  return JSON.stringify(value);
}

/** Return the request as a curl command. */
export function asCurl(baseUrl, body) {
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return [
    `curl ${baseUrl}/chat/completions \\`,
    '  -H "Authorization: Bearer $OPENAI_API_KEY" \\',
    '  -H "Content-Type: application/json" \\',
    `  -d '${quoted}'`,
  ].join("\n");
}

/** Return the request as Python with the OpenAI SDK. */
export function asPython(baseUrl, body) {
  const values = Object.entries(body).filter(([name]) => !name.startsWith("stream"));
  const fields = values.map(([name, value]) => `    ${name}=${pythonLiteral(value)},\n`).join("");
  return [
    "import os\n",
    "from openai import OpenAI\n",
    `client = OpenAI(base_url=${JSON.stringify(baseUrl)}, api_key=os.environ["OPENAI_API_KEY"])`,
    `response = client.chat.completions.create(\n${fields})`,
    "print(response.choices[0].message.content)\n",
  ].join("\n");
}
