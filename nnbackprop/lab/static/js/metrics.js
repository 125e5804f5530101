// Names and forms of what is measured: accuracy in per cent, errors as they are.

import { number, percent } from "./format.js";
import { has, t } from "./i18n.js";

export const isShare = (name) => /accuracy|top|f1/.test(name);
export const metricName = (name) => (has(`metric.${name}`) ? t(`metric.${name}`) : name);
export const metricText = (name, value) => (isShare(name) ? percent(value, 2) : number(value));
