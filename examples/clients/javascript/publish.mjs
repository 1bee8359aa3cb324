import { connect } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";

const nc = await connect({ servers: "127.0.0.1:4222" });
const results = nc.subscribe("results.classify.*");
const task = { document: "I was charged twice", labels: ["billing", "login"] };
const { seq } = await jetstream(nc).publish("tasks.classify", JSON.stringify(task));
for await (const result of results) {
  if (result.subject !== `results.classify.seq-${seq}`) continue;
  console.log(result.json());
  break;
}
await nc.close();
