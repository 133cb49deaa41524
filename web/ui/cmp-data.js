// What the comparison asks the server; docs/http.md describes the answers.
import { forRun, json } from "./tl-data.js";

// of returns the questions about runs a and b.
export function of(a, b) {
  const pair = (p) => ({ a, b, trace_a: p.a, trace_b: p.b });
  return {
    a: forRun(a), b: forRun(b),
    whole: () => json("/v1/compare", { a, b }),
    traces: (p) => json("/v1/compare/traces", pair(p)),
    flame: (p, of_) => json("/v1/compare/flame", { ...pair(p), of: of_ }),
  };
}
