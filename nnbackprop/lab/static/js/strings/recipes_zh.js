// The titles of the recipes in Chinese, by their names.

export default {
  ciresan: "变形的 MNIST，784-2500-2000-1500-1000-500-10：ReLU，softmax 交叉熵，Adam，余弦学习率，平均权重",
  cnn: "MNIST 上的卷积网络，10.5 万个参数：批归一化，Dropout，Adam，one-cycle",
  deformed: "变形的 MNIST，784-1000-500-10：ReLU，softmax 交叉熵，Adam，余弦学习率，平均权重",
  ex4: "20×20 的数字，400-26-10：sigmoid，二分之一平方误差和 L2，全批，同 ex4",
  "house-prices": "虚构的房价，14-64-64-1，回归：GELU，Huber 损失，Adam，one-cycle",
  iris: "Fisher 的鸢尾花，三个品种，4-16-3：tanh，Adam，one-cycle",
  "mnist-original": "MNIST，784-512-256-10，一位初学者 NumPy 网络的设置：ReLU，Dropout，SGD",
  mnist: "MNIST，784-512-256-10：ReLU，Dropout，softmax 交叉熵，Adam，one-cycle",
  rashid: "MNIST，784-100-10，同《Python 神经网络编程》：sigmoid，没有偏置，一次一个样本",
  "weight-height": "四个人的体重和身高，2-2-1：sigmoid，一次一个样本",
};
