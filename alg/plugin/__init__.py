"""The words between the engine and plug-ins: what a plug-in declares, is told, and may answer.

Here live the model of a conversation, the policy that every protocol has, the types of a configuration's values, and
the registry that finds plug-ins. It must not know the engine: both sides speak by these words.
"""
