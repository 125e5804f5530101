// The parameters by the names that the Python package gives them.

export const paramsOf = (layers) =>
  Object.fromEntries(layers.flatMap(({ W, b }, l) => [[`dense${l + 1}.W`, W], [`dense${l + 1}.b`, b]]));
