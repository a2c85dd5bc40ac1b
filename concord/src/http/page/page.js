"use strict";
// The page of Concord: every customer with its values in each system, side by side.

const $ = (id) => document.getElementById(id);
const PAGE = 100;
const customers = new Map(); // customer_id → record, in the order they came
const conflicts = [];
let systems = [];
let productSystem = null;
let nextPage = null;
let editing = null; // the product's id being edited
const listed = ["name", "email", "phone", "address"];
const lines = ["line1", "line2", "city", "state", "postal_code", "country"];

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function text(value) {
  if (value === null || value === undefined || value === "") return "—";
  if (typeof value === "object") return lines.map((line) => value[line]).filter(Boolean).join(", ");
  return String(value);
}

const same = (a, b) => text(a) === text(b);

function golden(customer) {
  return Object.fromEntries(Object.entries(customer.fields).map(([field, of]) => [field, of.value]));
}

// Why a record is not in step, as marks.
function marks(customer, system, record) {
  const found = [];
  const mark = (kind, label, title = "") => found.push(element("span", { class: `mark ${kind}`, title }, label));
  if (!record) {
    if (customer.deleted) return found;
    if (customer.contested) mark("bad", "conflict", "An elder customer has this e-mail address");
    else mark("soft", "not there");
    return found;
  }
  if (record.deleted) { mark("soft", "deleted"); return found; }
  for (const refused of record.refused ?? []) mark("bad", `refused: ${refused.field}`, refused.reason);
  for (const field of record.held ?? []) mark("bad", `conflict: ${field}`, "Two automations set it back and forth");
  if (record.pending) mark("wait", "pending", record.pending);
  else if (record.in_step && !(record.refused ?? []).length) mark("good", "in step");
  else if (!record.in_step) mark("wait", "not in step");
  return found;
}

function values(fields, against) {
  const list = element("dl");
  const names = [...new Set([...listed, ...Object.keys(against), ...Object.keys(fields)])];
  for (const field of names) {
    const value = fields[field], expected = against[field];
    if (!listed.slice(0, 2).includes(field) && text(value) === "—" && text(expected) === "—") continue;
    const shown = element("dd", { "data-field": field, title: text(value) }, text(value));
    if (!same(value, expected)) shown.className = "differs";
    else if (text(value) === "—") shown.className = "none";
    list.append(element("div", {}, element("dt", {}, field.replace("attributes.", "")), shown));
  }
  return list;
}

const inStep = (customer) =>
  customer.deleted || (!customer.contested && systems.every((s) => !customer.records[s] || customer.records[s].deleted || (customer.records[s].in_step && !(customer.records[s].refused ?? []).length)));

function row(customer) {
  const truth = golden(customer);
  const tr = element("tr", { "data-customer": customer.customer_id, tabindex: "0" });
  if (customer.deleted) tr.className = "deleted";
  const cell = element("td", {}, values(truth, truth), element("div", { class: "id" }, customer.customer_id));
  if (customer.deleted) cell.prepend(element("span", { class: "mark soft" }, "deleted"));
  tr.append(cell);
  for (const system of systems) {
    const record = customer.records[system];
    const td = element("td", { "data-system": system }, ...marks(customer, system, record));
    if (record && !record.deleted) td.append(values(record.shows, truth));
    if (record) td.append(element("div", { class: "id" }, record.external_id));
    tr.append(td);
  }
  const open = () => edit(customer);
  tr.addEventListener("click", open);
  tr.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
  return tr;
}

function wanted(customer) {
  const needle = $("search").value.trim().toLowerCase();
  const truth = golden(customer);
  if ($("only-open").checked && inStep(customer)) return false;
  return !needle || [truth.name, truth.email].some((v) => text(v).toLowerCase().includes(needle));
}

function draw() {
  $("head").replaceChildren(element("th", {}, "Customer"), ...systems.map((s) => element("th", {}, s)));
  const shown = [...customers.values()].filter(wanted);
  $("rows").replaceChildren(...shown.map(row));
  count();
}

function count() {
  const all = [...customers.values()].filter((c) => !c.deleted);
  const open = all.filter((c) => !inStep(c)).length;
  const noun = all.length === 1 && !nextPage ? "customer" : "customers";
  $("summary").textContent = `${all.length}${nextPage ? "+" : ""} ${noun}, ${open ? `${open} not in step` : "all in step"}`;
  $("empty").hidden = customers.size > 0;
  $("more").hidden = !nextPage;
}

function change(customer) {
  const known = customers.get(customer.customer_id);
  if (known && known.version >= customer.version) return;
  customers.set(customer.customer_id, customer);
  const fresh = row(customer);
  fresh.classList.add("changed");
  const old = $("rows").querySelector(`[data-customer="${CSS.escape(customer.customer_id)}"]`);
  if (!wanted(customer)) old?.remove();
  else if (old) old.replaceWith(fresh);
  else $("rows").prepend(fresh);
  count();
}

function drawConflict(conflict, first = true) {
  const side = (s) => (s ? `${text(s.value)} (${s.system})` : "");
  const record = conflict.external_id ? `${conflict.system}:${conflict.external_id}` : conflict.system;
  const what = [conflict.kind.replaceAll("_", " "), conflict.field, record].filter(Boolean).join(" · ");
  const detail = conflict.winner && conflict.loser ? `${side(conflict.winner)} won over ${side(conflict.loser)}` : conflict.detail ?? "";
  const li = element("li", { "data-kind": conflict.kind }, element("time", {}, new Date(conflict.at).toLocaleString()), ` ${what}: ${detail}`);
  if (first) $("conflicts").prepend(li); else $("conflicts").append(li);
  while ($("conflicts").children.length > 50) $("conflicts").lastChild.remove();
  $("no-conflicts").hidden = true;
}

async function json(url, options) {
  const answer = await fetch(url, options);
  if (!answer.ok) throw Object.assign(new Error(`${answer.status}`), { status: answer.status, body: await answer.json().catch(() => ({})) });
  return { body: answer.status === 204 ? null : await answer.json(), next: /<([^>]+)>;\s*rel="next"/.exec(answer.headers.get("link") ?? "")?.[1] };
}

async function load(url) {
  const { body, next } = await json(url);
  nextPage = next ?? null;
  for (const customer of body) {
    const known = customers.get(customer.customer_id);
    if (!known || known.version < customer.version) customers.set(customer.customer_id, customer);
  }
  draw();
}

async function start() {
  const { body: about } = await json("/api/v1/systems");
  systems = about.map((s) => s.name);
  productSystem = about.find((s) => s.kind === "postgres")?.name ?? null;
  $("add").hidden = !productSystem;
  $("systems").replaceChildren();
  // Listen first, then load: nothing that changes in between is missed.
  const events = new EventSource("/api/v1/events");
  events.addEventListener("open", async () => {
    $("live").textContent = "live";
    $("live").className = "live on";
    await load(`/api/v1/customers?limit=${PAGE}`).catch(fail);
  });
  events.addEventListener("error", () => {
    $("live").textContent = "reconnecting";
    $("live").className = "live off";
  });
  events.addEventListener("customer", (event) => change(JSON.parse(event.data)));
  events.addEventListener("conflict", (event) => drawConflict(JSON.parse(event.data)));
  const { body: known } = await json("/api/v1/conflicts?limit=50");
  for (const conflict of known) drawConflict(conflict, false);
}

function fail(error) {
  $("summary").textContent = error.status === 503 ? "Concord cannot read its customers now; trying again" : `Could not load: ${error.message}`;
}

function edit(customer) {
  const record = customer && productSystem ? customer.records[productSystem] : null;
  if (customer && (!record || record.deleted)) return;
  editing = record ? record.external_id : null;
  $("editor-title").textContent = editing ? "Edit customer" : "Add customer";
  $("delete").hidden = !editing;
  const now = record ? record.shows : {};
  for (const field of ["name", "email", "phone"]) $("form").elements[field].value = now[field] ?? "";
  for (const line of ["line1", "line2", "city", "state", "postal_code", "country"]) $("form").elements[line].value = now.address?.[line] ?? "";
  complain({});
  $("editor").showModal();
}

function complain(errors) {
  for (const p of document.querySelectorAll("#form .error")) p.textContent = [].concat(errors[p.dataset.for] ?? []).join(" ");
}

async function save(event) {
  event.preventDefault();
  const form = $("form").elements;
  const body = {};
  for (const field of ["name", "email", "phone"]) body[field] = form[field].value || null;
  const address = {};
  for (const line of ["line1", "line2", "city", "state", "postal_code", "country"]) if (form[line].value) address[line] = form[line].value;
  body.address = Object.keys(address).length ? address : null;
  const at = "/api/v1/myproduct/customers/" + (editing ? `${encodeURIComponent(editing)}/` : "");
  try {
    await json(at, { method: editing ? "PATCH" : "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    $("editor").close();
  } catch (error) {
    complain(error.status === 400 ? error.body : { "": error.body?.detail ?? `Not saved (${error.message}); try again.` });
  }
}

async function remove() {
  if (!confirm("Delete this customer, here and in the other systems as configured?")) return;
  try {
    await json(`/api/v1/myproduct/customers/${encodeURIComponent(editing)}/`, { method: "DELETE" });
    $("editor").close();
  } catch (error) {
    complain({ "": error.body?.detail ?? `Not deleted (${error.message}); try again.` });
  }
}

$("add").addEventListener("click", () => edit(null));
$("cancel").addEventListener("click", () => $("editor").close());
$("delete").addEventListener("click", remove);
$("form").addEventListener("submit", save);
$("search").addEventListener("input", draw);
$("only-open").addEventListener("change", draw);
$("more").addEventListener("click", () => load(nextPage).catch(fail));
start().catch(fail);
