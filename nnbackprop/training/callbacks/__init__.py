"""training/callbacks"""
