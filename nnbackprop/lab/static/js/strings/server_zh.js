// What the server says, in Chinese, by the ids of nnbackprop/lab/errors.py.

export default {
  "other-begins": "{run} 正在训练：请先停止它，再开始另一个。", "other-goes-on": "{run} 正在训练：请先停止它，再继续另一个。", "other-is-shown": "{run} 正在训练：请先停止它，再看另一个。",
  elsewhere: "{run} 由另一个进程训练：请在那里暂停或停止。", "nothing-to-change": "没有正在进行的运行：学习率和 Dropout 只能在训练或暂停时修改。", "nothing-runs": "没有正在进行的运行：请开始一个，或继续一个。",
  "nothing-to-resume": "没有可以继续的运行：请先开始一个。", "no-run": "{folder} 里没有运行 {run}：请从列表里选一个。", "nothing-saved": "{run} 还没有保存任何东西：请等它走完第一步。",
  "no-network": "还没有训练好的网络：请训练一个，或打开一个运行。", "no-image-network": "还没有训练好的图像网络：请训练一个，例如配方 mnist。", "no-drawing": "没有可以撤回的数字。",
  "dropout-count": "网络有 {layers} 个 Dropout 层，却给了 {rates} 个比例：每层给一个，不用就写 0。", "no-digit": "画里没有找到数字：墨迹太少或太多。请在画板上写一个数字。",
  "drawings-full": "{folder} 里已有 {n} 个数字，不能再多。", "drawings-few": "只有 {n} 个数字：至少要 {least} 个，并有两种以上，才能训练。请再写几个。",
  "not-grey-images": "{run} 是在 {source} 上训练的，那不是分类的灰度图像。", "no-image-layer": "{run} 的第一层不是看图像的：它是在 {source} 上训练的。", "no-classes": "{run} 学的是数值或多个标签，样本没有唯一的类别：它是在 {source} 上训练的。",
  "no-images": "{run} 是在 {source} 上训练的，那里的样本不是图像。", "no-hidden-layer": "{run} 没有隐藏层。",
};
