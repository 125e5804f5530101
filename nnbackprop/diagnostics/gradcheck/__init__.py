"""diagnostics/gradcheck"""
