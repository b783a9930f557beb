// Call the methods of ChartMogul's Node client that standard input lists, and print their results as JSON.
//
//   node client.js URL KEY < calls.json      calls: [["Opportunity", "retrieve", "uuid"], ...]
//
// In an argument, {"result": N, "field": F} is replaced by a field of an earlier result.

"use strict";

const fs = require("node:fs");
const ChartMogul = require("chartmogul-node");

async function main(url, key, calls) {
  const config = new ChartMogul.Config(key, url);
  config.retries = 0;
  const results = [];
  const resolve = (value) => {
    if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
    if ("result" in value) return results[value.result][value.field];
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, resolve(each)]));
  };
  for (const [resource, method, ...values] of calls) {
    try {
      results.push(await ChartMogul[resource][method](config, ...values.map(resolve)));
    } catch (error) {
      results.push({ status: error.status, message: error.message, text: error.response && error.response.text });
    }
  }
  console.log(JSON.stringify(results));
}

const [url, key] = process.argv.slice(2);
main(url, key, JSON.parse(fs.readFileSync(0, "utf8")));
