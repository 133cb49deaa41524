// Words and colours for what the critical path waits on.
import { colors } from "./tl-color.js";

const BOUNDS = { cpu: ["the host works", 1], gpu_compute: ["the device computes or copies", 4], gpu_communication: ["the device communicates", 5], kernel_kernel_overhead: ["between kernels of a stream", 9], kernel_launch_overhead: ["from launch to kernel", 3] };

export const boundText = (bound) => BOUNDS[bound]?.[0] ?? bound;
export const boundColor = (bound, dark) => colors(BOUNDS[bound]?.[1] ?? 0, bound, dark)[3];
