"""The registered tasks, one line each; the factory's docstring is the environment's page."""

from __future__ import annotations

from textgym.control import register_control
from textgym.registration import register

register("TextGen-v0", "textgym.envs.text_gen:text_gen")
register("TextGym/Copy-v0", "textgym.envs.copy:copy")
register("TextGym/Reverse-v0", "textgym.envs.reverse:reverse")
register("TextGym/Sort-v0", "textgym.envs.sort:sort")
register("TextGym/Arithmetic-v0", "textgym.envs.arithmetic:arithmetic")
register("TextGym/Brackets-v0", "textgym.envs.brackets:brackets")
register("TextGym/Corners-v0", "textgym.envs.corners:corners")
register("TextGym/RandomWalks-v0", "textgym.envs.random_walks:random_walks")
register("TextGym/IncreasingNumbers-v0", "textgym.envs.increasing_numbers:increasing_numbers")
register("TextGym/Dates-v0", "textgym.envs.dates:dates")
register("TextGym/Lock-v0", "textgym.envs.lock:lock")
register("TextGym/Trap-v0", "textgym.envs.trap:trap")
register("TextGym/Recall-v0", "textgym.envs.recall:recall")
register("TextGym/Delay-v0", "textgym.envs.delay:delay")
register("TextGym/Noise-v0", "textgym.envs.noise:noise")
register("TextGym/Scale-v0", "textgym.envs.scale:scale")
register("TextGym/Repeat-v0", "textgym.envs.repeat:repeat")
register("TextGym/RewardModel-v0", "textgym.envs.reward_model:reward_model")

register_control("TextGym/CartPole-v0", "textgym.control.cart_pole:cart_pole")
register_control("TextGym/MountainCar-v0", "textgym.control.mountain_car:mountain_car")
register_control("TextGym/FrozenLake-v0", "textgym.control.frozen_lake:frozen_lake")
