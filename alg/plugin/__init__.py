"""The words between the engine and plug-ins: what a plug-in declares, is told, and may answer.

This folder holds the model of a conversation, the policy that every protocol has, the types of configuration values,
and the registry that finds plug-ins. It must not know the engine: both sides use these words.
"""
