// The same loop with Node's undici: node peer_undici.mjs IDS BASE_URL OUT
import { readFileSync, createWriteStream } from "node:fs";
import { createRequire } from "node:module";

const { Pool } = createRequire(process.cwd() + "/")("undici");
const [ids, baseUrl, out] = process.argv.slice(2);
const todo = readFileSync(ids, "utf8").trim().split("\n").slice(1).map((line) => line.split(",")[0]);
const file = createWriteStream(out);
const pool = new Pool(baseUrl, { connections: 64 });
let next = 0;

async function work() {
  while (next < todo.length) {
    const id = todo[next++];
    const { statusCode, body } = await pool.request({
      method: "POST",
      path: `/api/workflow/v1/instances/${id}/cancel`,
      headers: { "X-DOMO-Developer-Token": "token" },
    });
    const answer = await body.json();
    file.write(`${id},${statusCode},${answer.status},${answer.modelName},${answer.modelId}\n`);
  }
}

await Promise.all(Array.from({ length: 64 }, work));
await pool.close();
file.end();
