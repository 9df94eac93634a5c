// Uses the package that its payload names, as its users do; tests/suite/packages.rs says what is to come of it.

import axios from "axios";
import { addMonths, formatISO } from "date-fns";
import dayjs from "dayjs";
import utc from "dayjs/plugin/utc.js";
import Handlebars from "handlebars";
import { jwtVerify, SignJWT } from "jose";
import _ from "lodash";
import { marked } from "marked";
import { v4, v5, validate } from "uuid";
import YAML from "yaml";
import { z } from "zod";
import { handle, Permanent } from "./kiln/index.js";

dayjs.extend(utc);

const order = z.object({ tea: z.string().min(2), grams: z.coerce.number().int().positive() });
const greeting = Handlebars.compile("{{#each teas}}{{@index}}: {{name}}{{#if hot}}!{{/if}} {{/each}}");

const uses = {
    async axios({ url }) {
        const { data, status } = await axios.post(`${url}/orders`, { tea: "green" }, { params: { page: 2 } });
        return { data, status };
    },

    "date-fns": () => formatISO(addMonths(new Date(2026, 0, 31), 1), { representation: "date" }),

    dayjs: () => dayjs.utc("2026-02-28T23:30:00Z").add(1, "hour").format("dddd, D MMMM YYYY HH:mm"),

    handlebars: () => greeting({ teas: [{ name: "<green>", hot: true }, { name: "black" }] }),

    async jose() {
        const key = new TextEncoder().encode("a secret that is long enough for it");
        const token = await new SignJWT({ tea: "green" }).setProtectedHeader({ alg: "HS256" }).setExpirationTime("1h").sign(key);
        const { payload } = await jwtVerify(token, key);
        const forged = await jwtVerify(token, key.slice(1)).catch(({ code }) => code);
        return { tea: payload.tea, forged };
    },

    lodash: () => _.mapValues(_.groupBy(["green", "black", "grey"], (tea) => tea[0]), (teas) => _.sumBy(teas, "length")),

    marked: () => marked.parse("# Tea\n\n| a | b |\n|---|---|\n| *1* | `2` |\n"),

    uuid: () => ({ named: v5("tea.example", v5.DNS), isValid: validate(v4()), isOther: v4() !== v4() }),

    yaml: () => YAML.stringify({ ...YAML.parse("teas: &teas\n  - green\n  - black\nagain: *teas\n"), more: null }),

    zod: () => ({
        fits: order.parse({ tea: "green", grams: "20" }),
        wrong: order.safeParse({ tea: "g", grams: -1 }).error.issues.map(({ path, code }) => [path[0], code]),
    }),
};

export const handler = handle((job) => {
    const use = uses[job.package];
    if (!use) throw new Permanent(`unknown: ${job.package}`);
    return use(job);
});
