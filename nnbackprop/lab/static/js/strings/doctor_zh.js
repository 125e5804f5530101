// What the doctor says, in Chinese, by its ids: findings of a run [title, cause, what to do], and mistakes of hand-derived
// gradients [cause, what to do], for samples in rows and W (in, out). MEASURED has the sentence of what a run's finding
// has measured, from its values by name.

import { number, percent } from "../format.js";

export const FINDINGS = {
  "not-finite": ["出现 NaN 或无穷大", "多半是步子太大，一步比一步偏得远，直到数值溢出；也可能数据里本来就有 NaN。", "减小学习率或裁剪梯度；数据有问题就改正或删去那些样本。"],
  "rate-too-high": ["学习率太大", "每一步都越过了最小值。", "减小学习率。"],
  "rate-too-low": ["学习率太小", "步子太小，权重几乎不变。", "增大学习率。"],
  saturation: ["神经元饱和", "很多 sigmoid 或 tanh 处在两端，斜率几乎为零，梯度传不回去。", "减小学习率；一开始就饱和的，换初始化方法，或缩放输入。"],
  "dead-relu": ["ReLU 死亡", "很多神经元对所有样本都输出 0，梯度也是 0，不再学习。", "减小学习率，或改用 Leaky ReLU；一开始就死的，换初始化方法。"],
  vanishing: ["梯度消失", "每一层只往回传一部分梯度：斜率或权重太小。", "用 ReLU 和 He 初始化，或减少层数。"],
  exploding: ["梯度爆炸", "初始权重太大，每一层都把经过的梯度放大。", "用 He 初始化，或裁剪梯度的范数。"],
  plateau: ["损失停滞", "网络只学到了各类有多常见：多半是各神经元完全相同，或标签与样本没有对上。", "用 He 初始化；或用 nnbackprop doctor --data 检查数据。"],
  overfitting: ["过拟合", "网络在死记训练样本：权重比样本所能决定的多。", "提前停止；增加数据，或用 Dropout、L2 惩罚。"],
};

export const FOLLOWS = "这是“{title}”的结果。";

const four = (value) => number(value, 4);
const flow = ({ first_layer, first_norm, last_layer, last_norm, ratio, count }) =>
  `${last_layer} 处 dJ/dy 的范数最后是 ${four(last_norm)}，传到 ${first_layer} 时是 ${four(first_norm)}：${count} 次测量的中位数是 ${four(ratio)} 倍。`;

export const MEASURED = {
  "not-finite": ({ step, inputs }) => (inputs ? "输入数据经过缩放后有 NaN 或无穷大。" : `第 ${step} 步出现 NaN 或无穷大。`),
  "rate-too-high": ({ diverged_at, first_loss, highest_loss, highest_at, step, layer, ratio }) =>
    `${layer ? `第 ${step} 步使 ${layer} 的权重改变了范数的 ${four(ratio)} 倍，通常是 0.001；` : ""}${diverged_at ? `训练在第 ${diverged_at} 步发散。` : `到第 ${highest_at} 步，损失从 ${four(first_loss)} 升到 ${four(highest_loss)}。`}`,
  "rate-too-low": ({ ratio, first_loss, last_loss, steps }) => `每一步最多使一层的权重改变范数的 ${four(ratio)} 倍，通常是 0.001；${steps} 步里损失从 ${four(first_loss)} 到 ${four(last_loss)}。`,
  saturation: ({ layer, units, fraction, initially, output }) => `${layer}：${percent(fraction, 0)} 的${output ? "样本有一个错误的输出" : `输出（共 ${units} 个神经元）`}，斜率不到最大值的 1%；一开始是 ${percent(initially, 0)}。`,
  "dead-relu": ({ layer, units, fraction, initially, samples }) => `${layer} 的 ${units} 个神经元里，${percent(fraction, 0)} 对测量的 ${samples} 个样本都输出 0；一开始是 ${percent(initially, 0)}。`,
  vanishing: flow, exploding: flow,
  plateau: ({ first_step, last_step, loss, accuracy }) => `从第 ${first_step} 步到第 ${last_step} 步，损失停在 ${four(loss)}，准确率停在 ${percent(accuracy)}。`,
  overfitting: (m) => `验证损失在第 ${m.best_epoch} 轮后最小，为 ${four(m.best_validation_loss)}，第 ${m.last_epoch} 轮后是 ${four(m.last_validation_loss)}；训练损失从 ${four(m.best_train_loss)} 到 ${four(m.last_train_loss)}。`,
};

export const MISTAKES = {
  "missing-batch-mean": ["损失和梯度对批的平均不一致：一个取平均，另一个求和。", "损失取平均时，在起点除一次：dy = (p - t) / n。"],
  "mean-twice": ["梯度除了两次批大小：dy 里一次，dW 或 db 里又一次。", "只在 dy 里除一次；此后 dW = x.T @ dz，db = dz.sum(axis=0)，不再取平均。"],
  "missing-output-mean": ["损失对 n 个样本和 k 个输出取平均，梯度却只除以 n。", "交叉熵对全部 n k 个元素取 np.mean 时：dz = (p - t) / t.size。"],
  "mse-factor": ["平方误差导数的系数与损失不符：(y - t)^2 的导数有系数 2；对 n 个样本和 k 个输出取平均要除以 n k。", "J = mean((y - t)**2) 时：dy = 2 * (y - t) / y.size；J = sum((y - t)**2) / (2n) 时：dy = (y - t) / n。"],
  "constant-factor": ["损失和梯度差一个固定的系数：学习率、动量，或损失的权重。", "返回 loss_fn 那个数的梯度；学习率属于更新。"],
  "l2-missing": ["L2 惩罚只在损失或只在梯度里。", "损失里有 lambda/2 * (W**2).sum()，就给同一个 W 的梯度加 lambda * W，别的都不加。"],
  "l1-missing": ["L1 惩罚只在损失或只在梯度里。", "损失里有 lambda * abs(W).sum()，就给同一个 W 的梯度加 lambda * np.sign(W)。"],
  "l2-on-biases": ["梯度惩罚了偏置，损失没有。", "只给权重的梯度加 lambda * W；偏置并在 W 里时，跳过那一列。"],
  "l2-not-averaged": ["损失和梯度里 L2 惩罚的系数不同：其中一个除以了批大小或 2。", "损失里是 lambda/(2n) * (W**2).sum() 时，梯度里是 lambda/n * W。"],
  "activation-derivative-missing": ["反向时漏掉了激活函数的导数。", "先算 dz = dy * f'(z)，再算 dW = x.T @ dz，再往前一层传。"],
  "activation-derivative-at-a": ["导数取在输出 a 处，而不是输入 z 处；或把 a 的公式用在 z 上。", "sigmoid：dz = dy * a * (1 - a)，a 是输出；tanh：1 - a**2。"],
  "wrong-activation-derivative": ["反向用的是另一个激活函数的导数。", "用前向所用函数的导数：sigmoid a * (1 - a)，tanh 1 - a**2，ReLU (z > 0)，leaky ReLU np.where(z > 0, 1, slope)。"],
  "output-derivative-missing": ["漏掉了最后一个激活函数的导数：delta = a - t 只适用于 softmax 配交叉熵、sigmoid 配二元交叉熵，那里导数正好消去；平方误差不行。", "平方误差时，最后一层也是 dz = (a - t) * f'(z)；或者把损失换成交叉熵。"],
  "output-derivative-extra": ["多乘了最后一个激活函数的导数，而在交叉熵里它已经消去。", "去掉因子 p * (1 - p)：dz = (p - t) / n。"],
  "cross-entropy-half": ["二元交叉熵有两项，t log p 和 (1 - t) log(1 - p)；其中一边只写了第一项。", "J = -(t * log(p) + (1 - t) * log(1 - p)).sum() / n，dz = (p - t) / n，两项都要。"],
  "class-weights-missing": ["损失和梯度对各类或各样本的加权不同，例如只在损失里加权。", "每个样本的 dz 乘以它在损失里的权重。"],
  "wrong-targets": ["损失和梯度用了不同的目标值，或别的样本的目标值。", "每个样本在自己的类上减 1：dz[np.arange(n), y] -= 1；dz[:, y] -= 1 会从整列减去。"],
  "softmax-diagonal": ["求 softmax 的导数时，以为每个输出只依赖自己的输入：雅可比矩阵 p_i ([i = j] - p_j) 只用了对角线 p (1 - p)。", "配交叉熵时 dz = (p - t) / n；否则 dz = p * (dp - (dp * p).sum(axis=1, keepdims=True))。"],
  "softmax-axis": ["softmax 沿着批、或对全部元素计算，每个样本各类之和不是 1。", "只对类求和：e / e.sum(axis=1, keepdims=True)。"],
  "weight-transposed": ["反向时误差乘了 W，应当乘它的转置；矩阵是方的，所以形状不报错。", "前向是 z = x @ W，反向就是 dx = dz @ W.T。"],
  "wrong-layer-weights": ["误差经过了另一层的权重。", "第 l+1 层的误差要经过第 l+1 层的权重：dx = dz @ W.T，W 是 z = x @ W 里的那个。"],
  "wrong-layer-input": ["W 的梯度用了另一个数组，不是前向时与 W 相乘的那个。", "dW = x.T @ dz，x 就是这一层的输入：前一层的激活值，已经过 Dropout。"],
  "tied-weight": ["网络用了两次的权重，梯度是两部分之和，其中一部分漏掉了。", "编码器 z = x @ W，解码器 y = a @ W.T：dW = x.T @ dz + dy.T @ a。"],
  "wrong-layer-derivative": ["激活函数的导数取在另一层的 z 上。", "第 l 层要用 f'(z_l)，与正在求导的 W、b 同一层。"],
  "wrong-error-sent-back": ["传给前一层的误差不是算 dW 用的那个：导数多乘了一次，或还没有乘。", "dz 只算一次，处处用它：dW = x.T @ dz，db = dz.sum(axis=0)，dx = dz @ W.T。"],
  "dropout-mask-missing": ["Dropout 的掩码只用在一个方向：前向被关掉的神经元反向却有误差，或者相反。", "保留前向的掩码 m，并相乘：dx = m * dy。"],
  "dropout-scale-missing": ["前向把留下的神经元放大了 1/keep，反向没有。", "把比例放进掩码，m = (u < keep) / keep，两个方向用同一个 m。"],
  "normalization-terms-missing": ["批归一化的均值和方差依赖每个样本，它们的导数漏掉了。", "设 h = (z - mean) / std：dz = (dh - dh.mean(0) - h * (dh * h).mean(0)) / std。"],
  "gamma-of-the-input": ["gamma 的梯度用 dy 乘输入求和；y = gamma h + beta 里与 gamma 相乘的是归一化之后的 h。", "设 h = (z - mean) / std：dgamma = (dy * h).sum(0)；有通道时，行和列也要求和。"],
  "kernel-not-turned": ["反向时卷积核没有旋转 180 度。像素最后一次被覆盖时，在第一个权重之下：位置往下移，权重往上移。", "把四周补零的 dz 与 W[::-1, ::-1] 做卷积，输入输出通道交换；W 是 (out, in, k, k) 时用 W[:, :, ::-1, ::-1]。"],
  "pooling-mean-missing": ["窗口里每个像素的斜率是 1 / (k k)，反向时漏掉了。", "窗口里每个像素 dx = dy / (k * k)；全局平均池化是 dy / (rows * columns)。"],
  "bias-not-summed": ["偏置服务于批里的每个样本，梯度是所有样本之和；这里不是。", "db = dz.sum(axis=0)（1/n 已经在 dz 里）。"],
  "sign-flipped": ["梯度的符号反了，例如写成 t - y 而不是 y - t。", "dy = y - t，更新时相减：W -= lr * dW。"],
  "updated-too-early": ["误差还没有经过这一层，它的权重就更新了，前一层得到的是另一个网络的梯度。", "先算完所有梯度，再更新所有权重；或者在 W 改变之前取 dx = dz @ W.T。"],
  accumulated: ["以前调用的梯度还留在数组里：只累加，没有清零。", "每次调用从全零开始，或用赋值（dW = ...）代替累加（dW += ...）。"],
  "params-changed": ["函数改写了传给它的参数。", "返回梯度，让训练循环去更新权重。"],
  "not-deterministic": ["每次调用算的是另一个函数，例如 Dropout 重新抽掩码，或重新抽批。", "在外面抽一次掩码和批，loss_fn 和 grad_fn 都用它。"],
  "loss-does-not-move": ["不管参数是什么，损失都一样：loss_fn 用的不是传给它的参数，例如笔记本里的全局变量；或者它在数答对的个数。", "用参数计算损失：def loss_fn(p): ... p['W1'] ..."],
  "nearly-right": ["梯度属于一个略有不同的损失：对数里的 epsilon、截断，或某处用了 float32。", "训练时可以不管；要精确，就对损失实际计算的式子求导，或去掉 epsilon。"],
  "gradient-zero": ["梯度没有计算，或算了没有返回。", "每一层都返回 db = dz.sum(axis=0) 和 dW = x.T @ dz。"],
  "gradient-order": ["梯度的数对，位置不对。", "按参数的顺序返回梯度；两者用同一个顺序展平。"],
  "gradient-not-finite": ["指数溢出，或除以零、对零取对数。", "对 z - z.max(axis=1, keepdims=True) 取 softmax，并与交叉熵一起求导。"],
  "gradient-shape": ["梯度的形状与参数不同。", "dW 与 W 同形：z = x @ W 时是 x.T @ dz。"],
  unknown: ["不是任何一种常见的错误。", "先看梯度出错的最后一层：它前面各层都继承了它的误差。最大池化里有几个相等的最大值时，只有一个得到梯度。"],
};
