// The equations that Step through can show, of the derivation as one line each, by the
// indices i and j where there are several of a kind; docs/derivation.md and
// derivation-layers.md have them with their steps.
// What is not derived there has its formula and its paper.

export const EQUATIONS = {
  D1: "sⱼ = Σᵢ wᵢⱼ xᵢ + bⱼ",
  D2: "σ(s) = 1 / (1 + e⁻ˢ)",
  D3: "J = (y − t)²,  ∂J/∂y = 2 (y − t)",
  D4: "δ = ∂J/∂y · y (1 − y)",
  D5: "∂J/∂vᵢ = δ hᵢ,  ∂J/∂c = δ",
  D6: "∂J/∂hⱼ = δ vⱼ",
  D7: "δⱼ = ∂J/∂hⱼ · hⱼ (1 − hⱼ)",
  D8: "∂J/∂wᵢⱼ = δⱼ xᵢ,  ∂J/∂bⱼ = δⱼ",
  D9: "w ← w − η ∂J/∂w",
  D10: "z = x W + b",
  D11: "dW = xᵀ dz,  db = dz",
  D12: "dh = δ Vᵀ",
  D13: "dz = dh ⊙ h ⊙ (1 − h)",
  D14: "Z = X W + 1 b",
  D15: "J = 1/(nk) Σ (Y − T)²,  dY = 2/(nk) (Y − T)",
  D16: "dW = Xᵀ dZ",
  D17: "db = 1ᵀ dZ",
  D18: "dX = dZ Wᵀ",
  D19: "σ: dZ = dA ⊙ A ⊙ (1 − A);  tanh: dZ = dA ⊙ (1 − A ⊙ A);  ReLU: dZ = dA ⊙ [Z > 0]",
  D22: "θ ← θ − η dθ",
  D23: "pᵢ = e^zᵢ / Σⱼ e^zⱼ",
  D25: "J = −1/n Σ T log P",
  D26: "dZ = 1/n (P − T)",
  D27: "J = −1/n Σ (T log P + (1 − T) log(1 − P)),  P = σ(Z),  dZ = 1/n (P − T)",
  D55: "a = z (z > 0), α z (z ≤ 0);  dz = da (z > 0), α da (z ≤ 0);  α = 0.01",
  D60: "a = z (z > 0), e^z − 1 (z ≤ 0);  dz = da (z > 0), (a + 1) da (z ≤ 0)",
  D61: "a = log(1 + e^z);  dz = σ(z) da",
  D62: "a = z σ(z);  dz = σ(z) (1 + z (1 − σ(z))) da",
  D63: "a = z u,  u = σ(2c (z + α z³)),  c = √(2/π),  α = 0.044715;  f′(z) = u + z u (1 − u) 2c (1 + 3α z²)",
  Momentum: "v ← μ v + ∂J/∂w,  w ← w − η v. Polyak, 1964",
  Nesterov: "v ← μ v + ∂J/∂w,  w ← w − η (∂J/∂w + μ v). Sutskever et al., 2013",
  RMSprop: "v ← ρ v + (1 − ρ) (∂J/∂w)²,  w ← w − η ∂J/∂w / (√v + ε). Tieleman, Hinton, 2012",
  Adagrad: "v ← v + (∂J/∂w)²,  w ← w − η ∂J/∂w / (√v + ε). Duchi, Hazan, Singer, 2011",
  Adam: "m ← β₁ m + (1 − β₁) ∂J/∂w,  v ← β₂ v + (1 − β₂) (∂J/∂w)²,  m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ),  w ← w − η m̂ / (√v̂ + ε). Kingma, Ba, 2015",
  AdamW: "w ← (1 − η λ) w − η m̂ / (√v̂ + ε),  m̂, v̂: Adam. Loshchilov, Hutter, 2019",
};

/** Those that the derivation has for the one output of 2-2-1, as they are for several. */
export const OF_SEVERAL = {
  D4: "δⱼ = ∂J/∂yⱼ · yⱼ (1 − yⱼ)",
  D5: "∂J/∂vᵢⱼ = δⱼ hᵢ,  ∂J/∂cⱼ = δⱼ",
  D6: "∂J/∂hᵢ = Σⱼ δⱼ vᵢⱼ",
};
