// @ts-check
// A JSON schema in words: rows of a table, and a value that has it.

/** @typedef {{ place: string, kind: string, required: boolean, description: string }} Row */

/** Returns the schemas of which a value has one, without that of null. @param {any} schema @returns {any[]} */
function forms(schema) {
  const options = schema.properties ? undefined : (schema.anyOf ?? schema.oneOf);
  if (!options) return schema.type === "null" ? [] : [schema];
  return options.flatMap(forms);
}

const LONGEST_KIND = 60;

/** @param {string[]} kinds */
const joined = (kinds) => [...new Set(kinds)].join(" or ");

/** Returns the kind of a value in words, without that of the items where these are many. @param {any} schema @returns {string} */
export function kind(schema) {
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((/** @type {any} */ value) => JSON.stringify(value)).join(" or ");
  if (schema.anyOf) {
    const kinds = forms(schema).map(kind);
    const all = joined(kinds);
    return all.length <= LONGEST_KIND ? all : joined(kinds.map((each) => each.split(" of ")[0]));
  }
  if (schema.type === "array") {
    const item = kind(schema.items ?? {});
    return item.includes(" or ") ? `list of (${item})` : `list of ${item}`;
  }
  if (schema.type === "integer" || schema.type === "number") return `${schema.type}${range(schema)}`;
  return schema.type ?? "any";
}

/** Returns the limits of a number in words; those of 64 bits are no limits. @param {any} schema */
function range(schema) {
  const far = 2 ** 53;
  const low = schema.minimum > -far ? schema.minimum : undefined;
  const high = schema.maximum < far ? schema.maximum : undefined;
  const above = schema.exclusiveMinimum;
  if (above !== undefined) return high === undefined ? ` above ${above}` : ` above ${above} to ${high}`;
  if (low === undefined) return high === undefined ? "" : ` to ${high}`;
  return high === undefined ? ` from ${low}` : ` ${low} to ${high}`;
}

/**
 * Returns a row for each field of an object, and behind it those of the objects in it.
 * @param {any} schema @param {string} before @returns {Row[]}
 */
export function rows(schema, before = "") {
  /** @type {Map<string, Row>} */
  const found = new Map();
  const objects = forms(schema).filter((form) => form.properties);
  for (const form of forms(schema)) {
    if (form.type === "array") {
      const inner = rows(form.items ?? {}, `${before}[]`);
      add(
        found,
        inner.filter((row) => !found.has(row.place.replace(`${before}[]`, before))),
      );
    }
    for (const [name, field] of Object.entries(form.properties ?? {})) {
      const place = before ? `${before}.${name}` : name;
      const required = objects.every((one) => (one.required ?? []).includes(name));
      add(found, [{ place, kind: kind(field), required, description: field.description ?? "" }]);
      add(found, rows(field, place));
    }
  }
  return [...found.values()];
}

/** Adds rows; two of one place become one with both kinds. @param {Map<string, Row>} found @param {Row[]} more */
function add(found, more) {
  for (const row of more) {
    const old = found.get(row.place);
    if (!old) found.set(row.place, row);
    else if (!old.kind.split(" or ").includes(row.kind)) old.kind += ` or ${row.kind}`;
  }
}

/** Returns a small value that has the schema. @param {any} schema @returns {any} */
export function sample(schema) {
  if ("const" in schema) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf && !schema.properties) return sample(schema.anyOf[0]);
  if (schema.type === "array") return [sample(schema.items ?? {})];
  if (schema.type === "integer") return Math.min(Math.max(schema.minimum ?? 16, 16), schema.maximum ?? 16);
  if (schema.type === "number") return schema.maximum ?? 1;
  if (schema.type === "boolean") return true;
  if (schema.type !== "object") return "Hello";
  const given = [...(schema.required ?? []), ...((schema.oneOf ?? schema.anyOf)?.[0].required ?? [])];
  return Object.fromEntries(given.map((name) => [name, sample(schema.properties[name])]));
}
