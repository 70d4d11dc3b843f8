// The same request as a program sends it, with curl or the official Python client.
"use strict";

function writeCurl(root, path, body) {
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return `curl ${root}${path.split("/").map(encodeURIComponent).join("/")} \\\n  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d '${quoted}'`;
}

function writePython(root, path, body) {
  const call = { "/v1/chat/completions": "client.chat.completions.create", "/v1/embeddings": "client.embeddings.create" }[path];
  const head = `from openai import OpenAI\n\nclient = OpenAI(base_url=${toPython(root + (call || path.startsWith("/v1/") ? "/v1" : ""))})\n`;
  if (!call) return `${head}answer = client.post(${toPython(path.replace(/^\/v1/, ""))}, cast_to=object, body=${toPython(body, 0)})\nprint(answer)`;
  const options = Object.entries(body).map(([name, value]) => `    ${name}=${toPython(value, 4)},\n`).join("");
  const result = call.includes("chat") ? "answer.choices[0].message" : "answer.data[0].embedding";
  return `${head}answer = ${call}(\n${options})\nprint(${result})`;
}

// A JSON value as Python writes it.
function toPython(value, indent = 0) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const isList = Array.isArray(value);
  const pad = " ".repeat(indent + 4);
  const parts = isList ? value.map((item) => toPython(item, indent + 4)) : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${toPython(item, indent + 4)}`);
  const [open, close] = isList ? ["[", "]"] : ["{", "}"];
  if (!parts.length) return open + close;
  return `${open}\n${parts.map((part) => `${pad}${part},\n`).join("")}${" ".repeat(indent)}${close}`;
}
