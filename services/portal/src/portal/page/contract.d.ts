// What the portal's server sends, as the page reads it. Types only: never served.
// Every figure may be null or absent, which means that it is not known. Shares and rates of errors are 0 to 1.

export type Role = "viewer" | "approver" | "admin";
export type Zone = "local" | "cloud";
export type DataClass = "public" | "internal" | "restricted";
export type Figure = number | null | undefined;

export interface Session {
  /** Whoever is not signed in may look where there is a role: on loopback. */
  signed_in: boolean;
  role: Role | null;
  name: string;
  csrf: string;
  /** How somebody can sign in: `token`, `proxy`; empty where nobody can. */
  sign_in: string[];
  /** How they did; empty for who has not. */
  signed_in_by: string;
  scopes: string[];
  can: { decide?: boolean; retry?: boolean; policy?: boolean; documents?: boolean };
}

export interface Replica {
  instance: string;
  slots: number;
  slots_free: number;
  status: string;
  words?: string;
  age_s?: Figure;
}

export interface Pool {
  name: string;
  zone: Zone;
  provider?: string;
  models: string[];
  capabilities: string[];
  slots: number;
  slots_free: number;
  tasks_per_s: Figure;
  status: string;
  words?: string;
  replicas: Replica[];
  replicas_total?: number;
}

export interface Route {
  capability: string;
  pool: string;
  model: string;
  zone: Zone;
  status: string;
  words?: string;
  share: Figure;
  p50_ms: Figure;
  p95_ms: Figure;
  error_rate: Figure;
  tokens_per_s: Figure;
  cost_usd_task: Figure;
  p95_ms_guard?: Figure;
}

export interface Need {
  severity: string;
  /** The same for the same thing, however long it lasts. */
  name: string;
  text: string;
  /** What may be done about it. */
  todo: string;
  href?: string;
  /** How many wait there. */
  count: number;
}

export interface Snapshot {
  at_unix_ms: number;
  connected: boolean;
  fleet: { orchestrators: { instance: string; tasks_in_flight?: Figure }[]; version?: string };
  totals: {
    /** Figures of the hour count from then. */
    since_unix_ms?: Figure;
    tasks_per_s: Figure;
    tasks_hour: Figure;
    ok_share: Figure;
    local_ms_avg: Figure;
    cloud_ms_avg: Figure;
    cost_usd_hour: Figure;
  };
  pools: Pool[];
  routes: Route[];
  /** Per second, of the tasks that went to the cloud. */
  boundary: { tasks_per_s: Figure; by_class: Partial<Record<DataClass, Figure>> };
  backlog: { scope: string; capability: string; pending: number }[];
  needs_you: Need[];
}

export interface FleetEvent {
  scope?: string;
  task: string;
  capability: string;
  kind: string;
  at_unix_ms: number;
  pool?: string;
  model?: string;
  replica?: string;
  error?: string;
  latency_ms?: Figure;
  cost_usd?: Figure;
  labels?: Record<string, string>;
  step?: string;
}

export interface TaskLine {
  scope: string;
  task: string;
  capability: string;
  state: string;
  pool?: string;
  model?: string;
  zone?: Zone;
  latency_ms?: Figure;
  cost_usd?: Figure;
  at_unix_ms: number;
  labels?: Record<string, string>;
  /** The kind of the failure. */
  error?: string;
  /** Of which it is a step. */
  run?: string;
  /** Itself, or a step of it. */
  awaits_approval?: boolean;
}

export interface Attempt {
  pool?: string;
  model?: string;
  zone?: Zone;
  replica?: string;
  status?: string;
  reason?: string;
  message?: string;
  latency_ms?: Figure;
}

export interface Step {
  step: string;
  index?: number;
  capability: string;
  status: string;
  zone?: Zone;
  pool?: string;
  model?: string;
  data_class?: string;
  latency_ms?: Figure;
  cost_usd?: Figure;
  tokens?: Figure;
  /** How many tasks it had: more than one where it ran for each item. */
  tasks?: number;
  /** Names of steps that had to end before; left out where there are none. */
  needs?: string[];
  reason?: string;
  error?: string;
}

export interface Story extends Omit<TaskLine, "error"> {
  error?: { kind?: string; message?: string } | string | null;
  queued_ms?: Figure;
  input_tokens?: Figure;
  output_tokens?: Figure;
  replica?: string;
  has_result?: boolean;
  awaits_approval?: boolean;
  events_dropped?: number;
  attempts?: Attempt[];
  steps?: Step[];
  events?: FleetEvent[];
}

export interface HistoryPoint {
  at_unix_s: number;
  p50_ms: Figure;
  p95_ms: Figure;
  error_rate: Figure;
  tasks: Figure;
  cost_usd: Figure;
  tokens: Figure;
}

export interface Span {
  from_unix_s: number;
  until_unix_s: number;
}

/** From `from_unix_s` on, which is when the portal began where that is less than an hour ago. */
export interface History extends Span {
  step_s: number;
  /** Where in it nothing is known, oldest first. */
  unseen: Span[];
  /** Where the events of tasks alone tell of it: tokens are not known. Oldest first. */
  told: Span[];
  points: HistoryPoint[];
  /** When a route came to stand otherwise, oldest first. */
  moves: Move[];
}

export interface Move {
  at_unix_s: number;
  capability: string;
  pool: string;
  model: string;
  status: string;
  words: string;
}

export interface ExplainedRoute {
  pool: string;
  model: string;
  reason: string;
  in_order?: number;
  zone?: Zone;
  free_slots?: number;
  probe?: boolean;
}

export interface Explanation {
  capability: string;
  data_class: string;
  strategy: string;
  policy_revision: number;
  routes: ExplainedRoute[];
  excluded: ExplainedRoute[];
  reason?: string;
}

export interface PolicyVersion {
  revision: number;
  author?: string;
  at_unix_ms?: number;
  toml?: string;
  deleted?: boolean;
}

export interface Policy {
  toml: string;
  revision: number;
  history?: PolicyVersion[];
}

export interface DeadLetter {
  scope: string;
  task: string;
  capability: string;
  error?: { kind?: string; message?: string };
  at_unix_ms: number;
  size_bytes?: number;
}

export interface Approval {
  id: string;
  scope: string;
  task?: string;
  run?: string;
  step?: string;
  capability: string;
  data_class?: string;
  zones?: string[];
  submitted_by?: string;
  group?: string;
  created_unix_ms?: number;
  expires_unix_ms?: number;
  status?: string;
  payload?: unknown;
  /** Of the payload, in hexadecimal. */
  digest?: string;
  decided_by?: string;
  comment?: string;
}

export interface BlackboardEntry {
  scope?: string;
  key: string;
  /** Left out for who may not read it, and where it is long. */
  value?: unknown;
  size_bytes?: number;
  revision?: number;
  author?: string;
  at_unix_ms?: number;
  expires_unix_ms?: number;
}

export interface SpendReport {
  by: string;
  /** The dearest first. */
  lines: { key: string; usd: number; entries: number }[];
  more: number;
  usd: number;
  entries: number;
  /** Those whose cost is not known. */
  unpriced: number;
  complete: boolean;
  budgets: { name: string; period: string; usd: number; used_usd: Figure; mode: string }[];
}

export interface Arm {
  pool: string;
  model: string;
  tasks: number;
  ok_share: number | null;
  latency_ms: number | null;
  cost_usd: number | null;
  /** Mean of what callers said, 0 to 1. */
  score: number | null;
  scored: number;
}

export interface Experiment {
  capability: string;
  experiment: string;
  /** 0 where there was no task yet. */
  began_unix_ms: number;
  arms: Arm[];
}
